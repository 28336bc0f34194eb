import { expect, test } from 'vitest'
import { ada, operationDatabase } from './support/operation-database.ts'

const { database, operations, startProcess, untilState } = await operationDatabase('operation_many')

test('100,000 items are frozen and done within a small heap', async () => {
  const items = 100_000
  const { id } = await operations.start('bulk', { items }, { actor: ada, settings: { canary: [0.01, 1] } })
  const program = startProcess({ NODE_OPTIONS: '--max-old-space-size=32' }, 5_000)
  await untilState(id, 'done')
  program.signal('SIGTERM')
  expect(await program.ended).toMatchObject({ code: 0, stderr: '' })
  const [row] = await database.query('select count(*)::int as n, count(distinct n)::int as d from effect where operation = $1', [id])
  expect(row).toEqual({ n: items, d: items })
  expect((await operations.get(id)).counts).toEqual({ done: items, failed: 0, skipped: 0, started: 0 })
}, 60_000)
