import { describe, expect, test } from 'vitest'
import { crashPoints } from '../../src/internal/crash-points.ts'
import { ada, operationDatabase, upTo } from './support/operation-database.ts'
import { until } from '../support/until.ts'

const { database, operations, run, startProcess, untilState, effects } = await operationDatabase('operation_crash')

const points = crashPoints.filter((name) => name.startsWith('operation:'))
/** Where it matters that an effect is committed by itself, or known only later. */
const ofMarking = ['operation:before-step', 'operation:after-effect', 'operation:after-step', 'operation:after-look'] as const
const ofCounting = points.filter((name) => name !== 'operation:after-look')

async function expectDone(id: string, items: number): Promise<void> {
  await untilState(id, 'done')
  expect(await effects(id)).toEqual(upTo(items))
  const { total, next, counts } = await operations.get(id)
  expect([total, next, counts]).toEqual([items, items, { done: items, failed: 0, skipped: 0, started: 0 }])
  const ends = await database.query(`select from tidemark.audit_log where target_id = $1 and verb = 'operation.end'`, [id])
  expect(ends).toHaveLength(1)
}

describe.each(ofCounting)('a process killed at %s', (name) => {
  test('is followed by another one, and every effect that commits with its result happens once', async () => {
    const { id } = await operations.start('count', { items: 25 }, { actor: ada })
    // At the second step, so that one is done before.
    const nth = /step|effect|commit/.test(name) ? `${name}:2` : name
    expect((await startProcess({ TIDEMARK_CRASH_POINT: nth }, 200).ended).signal).toBe('SIGKILL')
    await using _runner = run(200)
    await expectDone(id, 25)
  })
})

describe.each(ofMarking)('a process killed at %s', (name) => {
  test('is followed by another one that repeats a step of its own without a second effect', async () => {
    const { id } = await operations.start('mark', { items: 25 }, { actor: ada, settings: { canary: [0.4, 1] } })
    await database.query('insert into look select $1, n, null from generate_series(0, 24) n', [id])
    const nth = /step|effect/.test(name) ? `${name}:2` : name
    expect((await startProcess({ TIDEMARK_CRASH_POINT: nth }, 200).ended).signal).toBe('SIGKILL')
    await using _runner = run(200)
    await expectDone(id, 25)
  })
})

describe.each(['operation:after-effect', 'operation:before-commit', 'operation:before-step', 'operation:mid-freeze'] as const)(
  'a process frozen at %s',
  (name) => {
    test('keeps nobody waiting, and commits nothing when it wakes', async () => {
      const { id } = await operations.start('count', { items: 25 }, { actor: ada })
      const frozen = startProcess({ TIDEMARK_FREEZE_POINT: name === 'operation:mid-freeze' ? name : `${name}:2` }, 200)
      await until('it stands still', () => frozen.isFrozen())
      await using _runner = run(200)
      await expectDone(id, 25)
      frozen.signal('SIGCONT')
      await until('it has noticed', () => frozen.timesSaid('lost') > 0 || /Error/.test(frozen.stderr))
      await expectDone(id, 25)
    })
  },
)

test('every crash point of operations is tried above', () => {
  expect(points).toHaveLength(11)
})
