import { describe, expect, test } from 'vitest'
import { PostgresOperationStore } from '../../src/drivers/postgres/index.ts'
import { Audit, type AuditEntry, Operations, runOperations } from '../../src/operation/index.ts'
import { until } from '../support/until.ts'
import { counting, deadlocking } from './support/counting-kinds.ts'
import { ada, operationDatabase, upTo } from './support/operation-database.ts'

const { database, store, operations, run, startProcess, untilState, effects } = await operationDatabase('operations')
const eve = { id: 'eve', roles: [] }

test('a preview counts and stores nothing; a plan waits for its confirmation', async () => {
  const before = await operations.list()
  expect(await operations.preview('count', { items: 7 }, { actor: ada })).toMatchObject({ count: 7, summary: { asked: 7 } })
  expect(await operations.list()).toEqual(before)
  await using _runner = run()
  const { id, state, planned } = await operations.plan('count', { items: 7 }, { actor: ada, reason: 'to see' })
  expect([state, planned.count]).toEqual(['planned', 7])
  await operations.confirm(id, { actor: ada })
  await untilState(id, 'done')
  expect(await effects(id)).toEqual(upTo(7))
  await expect(operations.confirm(id, { actor: ada })).rejects.toMatchObject({ code: 'OPERATION_CONFLICT' })
})

test('two runners share several operations, and each item is done once', async () => {
  const started = await Promise.all(upTo(5).map(() => operations.start('count', { items: 40 }, { actor: ada })))
  await using _one = run()
  await using _two = run()
  for (const { id } of started) {
    await untilState(id, 'done')
    expect(await effects(id)).toEqual(upTo(40))
  }
})

test('paused in mid-run nothing more commits; resumed it goes on at the first item that is not done', async () => {
  const { id } = await operations.start('count', { items: 200, slow: 5 }, { actor: ada })
  await using _runner = run()
  await until('some are done', async () => (await effects(id)).length >= 20)
  await operations.pause(id, { actor: ada })
  const seen = await effects(id)
  await until('the runner has left it', async () => (await operations.get(id)).runner === null)
  const other = await operations.start('count', { items: 10 }, { actor: ada })
  await untilState(other.id, 'done')
  expect(await effects(id)).toEqual(seen)
  expect((await operations.get(id)).next).toBe(seen.length)
  await operations.resume(id, { actor: ada })
  await untilState(id, 'done')
  expect(await effects(id)).toEqual(upTo(200))
})

test('cancelled in mid-run it ends where it is, and takes no resume', async () => {
  const { id } = await operations.start('count', { items: 200, slow: 5 }, { actor: ada })
  await using _runner = run()
  await until('some are done', async () => (await effects(id)).length >= 20)
  await operations.cancel(id, { actor: ada, reason: 'enough' })
  const seen = await effects(id)
  await expect(operations.resume(id, { actor: ada })).rejects.toMatchObject({ code: 'OPERATION_CONFLICT' })
  const other = await operations.start('count', { items: 10 }, { actor: ada })
  await untilState(other.id, 'done')
  expect(await effects(id)).toEqual(seen)
  expect(seen.length).toBeLessThan(200)
})

test('a stopped process gives its operation back, and another one goes on at once', async () => {
  const { id } = await operations.start('count', { items: 100, slow: 5 }, { actor: ada })
  const first = startProcess({}, 60_000)
  await until('some are done', async () => (await effects(id)).length >= 20)
  first.signal('SIGTERM')
  expect((await first.ended).code).toBe(0)
  await using _runner = run()
  await untilState(id, 'done')
  expect(await effects(id)).toEqual(upTo(100))
})

test('the lease is kept while a step takes longer than it', async () => {
  const { id } = await operations.start('count', { items: 10, slow: 700 }, { actor: ada, settings: { canary: [1] } })
  const events: string[] = []
  const watched = runOperations({ store, kinds: [counting], leaseMs: 200, idleMs: 10, onEvent: ({ kind }) => events.push(kind) })
  await until('it is claimed', () => events.includes('claimed'))
  await using _other = run(200)
  await untilState(id, 'done')
  await watched.stop()
  expect(events).toEqual(['claimed', 'left'])
  expect(await effects(id)).toEqual(upTo(10))
})

test('more failures than the limit stop it, and a resume goes on without counting them again', async () => {
  await using _runner = run()
  const { id } = await operations.start('count', { items: 100, failing: 1 }, { actor: ada })
  await untilState(id, 'failed')
  const failed = await operations.get(id)
  expect([failed.next, failed.counts.failed, failed.error]).toEqual([1, 1, expect.stringContaining('1 of 1 items tried have failed')])
  await operations.resume(id, { actor: ada })
  await until('the next stage', async () => (await operations.get(id)).next === 5 && (await operations.get(id)).state === 'failed')
})

test('one item that throws is charged alone, without what the error says', async () => {
  await using _runner = run()
  const { id } = await operations.start('count', { items: 25, throwing: 13 }, { actor: ada, settings: { canary: [1] } })
  await untilState(id, 'done')
  expect(await effects(id)).toEqual(upTo(25).filter((n) => n !== 13))
  expect(await operations.items(id, { outcomes: ['failed'] })).toMatchObject([{ place: 13, reason: 'RangeError' }])
})

test.each([
  [4, 0],
  [5, 1],
])('a step that meets %i deadlocks is tried five times: %i of its items are charged', async (times, failed) => {
  const kind = deadlocking(times)
  const desk = new Operations({ store, kinds: [kind], audit: new Audit({ store, host: 'here' }) })
  await using _runner = runOperations({ store, kinds: [kind], leaseMs: 5_000, idleMs: 10 })
  const { id } = await desk.start(kind.name, { items: 1 }, { actor: ada, settings: { canary: [1], maxFailures: 1 } })
  await untilState(id, 'done')
  expect((await operations.get(id)).counts.failed).toBe(failed)
})

test('the rate is kept, and a group goes in one step', async () => {
  await using _runner = run()
  const begin = performance.now()
  const { id } = await operations.start('count', { items: 60, perGroup: 4 }, { actor: ada, settings: { rate: 60, canary: [1] } })
  await untilState(id, 'done')
  expect(performance.now() - begin).toBeGreaterThan(700)
  expect(await effects(id)).toEqual(upTo(60))
})

test('whoever watches sees it move, from any process, until it has ended', async () => {
  const { id } = await operations.start('count', { items: 50, slow: 20 }, { actor: ada })
  startProcess()
  const seen = []
  for await (const { state, next } of operations.watch(id, { everyMs: 5 })) seen.push({ state, next })
  expect(seen.at(-1)).toEqual({ state: 'done', next: 50 })
  expect(seen.map(({ next }) => next)).toEqual(seen.map(({ next }) => next).toSorted((a, b) => a - b))
  expect(new Set(seen.map(({ next }) => next)).size).toBeGreaterThan(2)
})

describe('who may', () => {
  const audit = new Audit({
    store,
    host: 'here',
    origin: 'console',
    authorize: async (actor, verb) => {
      if (verb === 'operation.broken') throw new Error('the directory is down')
      return actor.roles.includes('operator')
    },
  })
  const guarded = new Operations({ store, kinds: [counting], audit })

  test('a refusal changes nothing, is NOT_ALLOWED, and is in the audit log', async () => {
    await expect(guarded.start('count', { items: 1 }, { actor: eve })).rejects.toMatchObject({ code: 'NOT_ALLOWED' })
    const { id } = await guarded.start('count', { items: 1_000 }, { actor: ada, reason: 'fixed' })
    await expect(guarded.cancel(id, { actor: eve })).rejects.toMatchObject({ code: 'NOT_ALLOWED' })
    expect((await operations.get(id)).state).toBe('freezing')
    await guarded.cancel(id, { actor: ada, reason: 'done with it' })
    const lines = await audit.list({ target: { type: 'operation', id } })
    expect(
      lines.map(({ actor, verb, outcome, reason, origin, host, details }) => [actor.id, verb, outcome, reason, origin, host, details]),
    ).toEqual([
      ['ada', 'operation.cancel', 'done', 'done with it', 'console', 'here', { kind: 'count' }],
      ['eve', 'operation.cancel', 'refused', null, 'console', 'here', { kind: 'count' }],
      ['ada', 'operation.count', 'done', 'fixed', 'console', 'here', { phase: 'confirmed', kind: 'count', count: 1_000 }],
      ['ada', 'operation.count', 'done', 'fixed', 'console', 'here', { phase: 'planned', kind: 'count', count: 1_000 }],
    ])
  })

  test('a hook that fails allows nothing', async () => {
    const broken = audit.allow({ actor: ada, verb: 'operation.broken', target: { type: 'operation', id: null } })
    await expect(broken).rejects.toMatchObject({ code: 'NOT_ALLOWED', cause: new Error('the directory is down') })
  })

  test('a look at a payload is noted, also one that was refused', async () => {
    const target = { type: 'dead-letter', id: '17' }
    await audit.view(ada, target, 'ticket 4')
    await expect(audit.view(eve, target)).rejects.toMatchObject({ code: 'NOT_ALLOWED' })
    const lines = await audit.list({ target })
    expect(lines.map(({ actor, verb, outcome, reason }) => [actor.id, verb, outcome, reason])).toEqual([
      ['eve', 'dead-letter.view', 'refused', null],
      ['ada', 'dead-letter.view', 'done', 'ticket 4'],
    ])
  })

  test('what failed is noted with the code of its error, not with its text', async () => {
    const target = { type: 'dead-letter', id: '18' }
    const failing = audit.act({ actor: ada, verb: 'dead-letter.assign', target }, () => Promise.reject(new RangeError('a secret')))
    await expect(failing).rejects.toThrow('a secret')
    expect(await audit.list({ target })).toMatchObject([{ outcome: 'failed', details: { error: 'RangeError' } }, { outcome: 'asked' }])
  })

  test('what is done outside of a transaction is noted before it, and with what came of it afterwards', async () => {
    const target = { type: 'cache', id: 'prices', details: { size: 3 } }
    const clear = async (): Promise<number> => {
      expect(await audit.list({ target })).toMatchObject([{ outcome: 'asked', details: { size: 3 } }])
      return 3
    }
    expect(await audit.act({ actor: ada, verb: 'cache.clear', target }, clear, (cleared) => ({ cleared }))).toBe(3)
    expect(await audit.list({ target })).toMatchObject([{ outcome: 'done', details: { size: 3, cleared: 3 } }, { outcome: 'asked' }])
  })

  test('what could not be noted is not done', async () => {
    const done: string[] = []
    const away = {
      record: () => Promise.reject(new Error('away')),
      listAudit: async () => [],
    }
    const noted = new Audit({ store: away })
    const action = { actor: ada, verb: 'cache.clear', target: { type: 'cache', id: null } }
    await expect(noted.act(action, async () => void done.push('cleared'))).rejects.toThrow('away')
    expect(done).toEqual([])
  })

  test('what was done is not noted as failed when the log is away', async () => {
    class Away extends PostgresOperationStore {
      override async record(entry: AuditEntry): Promise<void> {
        if (entry.outcome !== 'asked') throw new Error('away')
        await super.record(entry)
      }
    }
    const target = { type: 'dead-letter', id: '19' }
    const noted = new Audit({ store: new Away({ database }) })
    await expect(noted.act({ actor: ada, verb: 'dead-letter.assign', target }, () => Promise.resolve())).rejects.toThrow('away')
    expect(await audit.list({ target })).toMatchObject([{ outcome: 'asked' }])
  })

  test('lines of the audit log are neither changed nor removed, not by the owner of the table either', async () => {
    for (const statement of [
      `update tidemark.audit_log set actor = 'nobody'`,
      'delete from tidemark.audit_log',
      'truncate tidemark.audit_log',
    ]) {
      await expect(database.query(statement)).rejects.toMatchObject({ message: expect.stringContaining('append-only') })
    }
  })
})

test('settings that make no sense are refused before anything is stored', async () => {
  const wrong: readonly object[] = [{ rates: 1 }, { canary: 1 }, { maxFailures: '0.5' }, { observeMs: Number.NaN }]
  for (const settings of [{ rate: 0 }, { canary: [0.5] }, { canary: [0.5, 0.2, 1] }, { canary: [] }, { maxFailures: 2 }, ...wrong]) {
    await expect(operations.plan('count', { items: 1 }, { actor: ada, settings })).rejects.toMatchObject({ code: 'INPUT_INVALID' })
  }
  const nobody: Record<string, unknown> = {}
  for (const asked of [nobody, { actor: 'ada' }, { actor: { id: 'ada' } }])
    await expect(
      operations.preview('count', { items: 1 }, Object.assign({ actor: ada }, { actor: undefined }, asked)),
    ).rejects.toMatchObject({
      code: 'INPUT_INVALID',
      message: expect.stringContaining('expected an actor') as string,
    })
  await expect(operations.plan('other', {}, { actor: ada })).rejects.toMatchObject({ code: 'INPUT_INVALID' })
  await expect(operations.get('other')).rejects.toMatchObject({ code: 'OPERATION_UNKNOWN' })
})
