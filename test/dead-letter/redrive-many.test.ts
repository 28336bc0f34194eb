import { expect, test } from 'vitest'
import { redriveKind, redriveParams } from '../../src/dead-letter/index.ts'
import { PostgresOperationStore } from '../../src/drivers/postgres/index.ts'
import { Audit, Operations } from '../../src/operation/index.ts'
import { startProgram } from '../support/child-program.ts'
import { until } from '../support/until.ts'
import { letterDatabase } from './support/buried.ts'
import { insertManyLetters, insertManyPositions } from './support/many-letters.ts'

const { url, database, store: letters, rows } = await letterDatabase('redrive_many')
const store = new PostgresOperationStore({ database })
/** `TIDEMARK_REDRIVE_ALL=1` redrives all of them, which takes minutes on a quiet machine. */
const enough = process.env['TIDEMARK_REDRIVE_ALL'] === '1' ? Number.POSITIVE_INFINITY : 1_000

test('a redrive of 90,000 among 100,000 dead letters is frozen and runs within a small heap', async () => {
  await insertManyLetters(database, 100_000)
  await insertManyPositions(database)
  const operations = new Operations({ store, kinds: [redriveKind({ store: async () => letters })], audit: new Audit({ store }) })
  const { id } = await operations.start('redrive', redriveParams({}), { actor: { id: 'ada', roles: [] }, settings: { observeMs: 0 } })
  const program = startProgram(new URL('support/redrive-operation-process.ts', import.meta.url), [url], {
    env: { NODE_OPTIONS: '--max-old-space-size=40' },
  })
  await until(
    'many are redriven',
    async () => {
      const { state, next } = await operations.get(id)
      return state === 'done' || next >= enough
    },
    1_800_000,
  )
  program.signal('SIGTERM')
  // A connection that the server ended on a machine that stood still is told, and its step is done again.
  const { code, stderr } = await program.ended
  expect(code, stderr).toBe(0)
  const { total, counts } = await operations.get(id)
  expect([total, counts.skipped, counts.failed]).toEqual([90_000, 0, 0])
  const [redriven] = await rows<{ n: number; most: number }>(
    'select count(*)::int as n, max(redrives) as most from tidemark.dead_letter where redrives > 0',
  )
  expect(redriven!.most).toBe(1)
  expect(redriven!.n).toBeGreaterThanOrEqual(counts.started)
}, 1_800_000)
