import { setImmediate } from 'node:timers/promises'
import { beforeEach, expect, test } from 'vitest'
import { z } from 'zod'
import {
  type DeadLetterStore,
  type LetterFilter,
  type RedriveOutcome,
  type RedriveParams,
  redriveKind,
  redriveParams,
} from '../../src/dead-letter/index.ts'
import { PostgresDatabase } from '../../src/drivers/postgres/database.ts'
import { PostgresDeadLetterStore, PostgresInboxStore, PostgresOperationStore } from '../../src/drivers/postgres/index.ts'
import { deferred } from '../../src/internal/deferred.ts'
import { event } from '../../src/message/index.ts'
import {
  Audit,
  type IdempotentKind,
  type Item,
  type OperationRunner,
  type OperationSettings,
  Operations,
  runOperations,
} from '../../src/operation/index.ts'
import { type ChildProgram, startProgram } from '../support/child-program.ts'
import { until } from '../support/until.ts'
import { letterDatabase } from './support/buried.ts'
import { insertManyLetters, insertManyPositions } from './support/many-letters.ts'

const { url, database, store: letters, partition, rows } = await letterDatabase('redrive_operation')
const store = new PostgresOperationStore({ database })
const audit = new Audit({ store })
const ada = { id: 'ada', roles: [] }

const things = (version: number) =>
  event('Thing', {
    aggregate: 'thing',
    topic: 'things',
    key: () => '',
    untyped: true,
    schema: z.object({ n: z.number(), label: z.string() }),
    version,
    ...(version === 2 ? { upcasters: { 1: (old) => ({ ...(old as object), label: 'old' }) } } : {}),
  })

function desk(definitions: readonly ReturnType<typeof things>[] = []): Operations {
  return new Operations({ store, kinds: [redriveKind({ store: async () => letters, definitions: () => definitions })], audit })
}

const operations = desk()

function start(params: RedriveParams, settings: Partial<OperationSettings> = { observeMs: 0 }): Promise<{ readonly id: string }> {
  return operations.start('redrive', redriveParams(params), { actor: ada, reason: 'fixed', settings })
}

function run(): OperationRunner {
  return runOperations({ store, kinds: [redriveKind({ store: async () => letters })], leaseMs: 500, idleMs: 10 })
}

function startProcess(env: NodeJS.ProcessEnv = {}): ChildProgram {
  return startProgram(new URL('support/redrive-operation-process.ts', import.meta.url), [url], { env })
}

async function untilEnded(id: string, limitMs?: number): Promise<string> {
  await until('it has ended', async () => (await operations.get(id)).endedAt !== null, limitMs)
  return (await operations.get(id)).state
}

beforeEach(async () => {
  await database.query(
    `truncate tidemark.dead_letter, tidemark.dead_letter_edit, tidemark.dead_letter_event, tidemark.parked_key, tidemark.parked_msg`,
  )
  await database.query(`update tidemark.operation set state = 'cancelled' where state not in ('done', 'cancelled')`)
})

test('a preview tells count, times, keys, and what today’s definitions would not understand', async () => {
  const owned = await partition()
  for (const key of ['a', 'b', null]) await owned.bury(key, 'skip')
  const asked = redriveParams({ filter: { groups: [owned.ref.group] } })
  expect(await desk([things(1)]).preview('redrive', asked, { actor: ada })).toMatchObject({
    count: 3,
    summary: {
      keys: 3,
      sampled: 3,
      redrivenTooOften: 0,
      schemaProblems: [{ problem: 'EVENT_INVALID', count: 3 }],
      oldest: expect.any(Date),
    },
  })
  const upcast = await desk([things(2)]).preview('redrive', asked, { actor: ada })
  expect(upcast.summary).toMatchObject({ schemaProblems: [] })
  expect((await letters.count({})).count).toBe(3)
})

test('a filter with a condition that nobody knows is refused', async () => {
  const params = { filter: { typ: ['Thing'] } as LetterFilter }
  await expect(start(params)).rejects.toMatchObject({ code: 'INPUT_INVALID' })
  await expect(operations.start('redrive', { filtre: {} }, { actor: ada })).rejects.toMatchObject({ code: 'INPUT_INVALID' })
})

test('letters of a key go in the order of their offsets, with what waits behind them still behind', async () => {
  const owned = await partition()
  const offsets = []
  for (let i = 0; i < 12; i++) offsets.push(await owned.bury('a', 'skip'))
  offsets.push(await owned.bury('b'), await owned.queue('b'))
  const { id } = await start({ filter: { groups: [owned.ref.group] } }, { observeMs: 0, canary: [0.1, 1] })
  await using _runner = run()
  expect(await untilEnded(id)).toBe('done')
  const waiting = await rows<{ log_offset: string; dead: boolean }>('select log_offset, dead from tidemark.parked_msg order by log_offset')
  expect(waiting).toEqual(offsets.map((offset) => ({ log_offset: String(offset), dead: false })))
  expect((await operations.get(id)).counts).toEqual({ done: 0, failed: 0, skipped: 0, started: 13 })
  const [letter] = await rows<{ id: string }>('select id from tidemark.dead_letter limit 1')
  expect((await letters.get(Number(letter!.id)))!.history).toMatchObject([
    { actor: 'ada', action: 'redriven', text: `fixed (operation ${id})` },
  ])
})

test('what was frozen is what is redriven: letters that die later, or were changed since, are left alone with the reason', async () => {
  const owned = await partition()
  await owned.bury('a', 'skip')
  await owned.bury('b', 'skip')
  const { id } = await start({ filter: { groups: [owned.ref.group] } })
  // The process dies when the set is complete.
  expect((await startProcess({ TIDEMARK_CRASH_POINT: 'operation:after-frozen' }).ended).signal).toBe('SIGKILL')
  await owned.bury('c', 'skip')
  const [changed] = await rows<{ id: string }>('select id from tidemark.dead_letter order by id limit 1')
  await letters.edit(Number(changed!.id), { value: Buffer.from('{}') }, { actor: 'eve' })
  await using _runner = run()
  expect(await untilEnded(id)).toBe('done')
  expect((await operations.get(id)).counts).toEqual({ done: 0, failed: 0, skipped: 1, started: 1 })
  expect(await operations.items(id, { outcomes: ['skipped'] })).toMatchObject([{ reason: 'it was changed since it was looked at.' }])
  expect((await letters.count({})).count).toBe(2)
})

test('a letter that was redriven three times is left alone, unless it is forced', async () => {
  const owned = await partition()
  await owned.bury('a', 'skip')
  await database.query('update tidemark.dead_letter set redrives = 3')
  await using _runner = run()
  const preview = await operations.preview('redrive', redriveParams({}), { actor: ada })
  expect(preview.summary).toMatchObject({ redrivenTooOften: 1 })
  const { id } = await start({})
  await untilEnded(id)
  expect(await operations.items(id)).toMatchObject([{ outcome: 'skipped', reason: expect.stringContaining('redriven 3 times before') }])
  const forced = await start({ force: true })
  await untilEnded(forced.id)
  expect(await operations.items(forced.id)).toMatchObject([{ outcome: 'started' }])
})

test('a letter whose copies the inbox may have forgotten is left alone, unless it is forced', async () => {
  const owned = await partition()
  await owned.bury('a', 'skip')
  await owned.bury('b', 'skip')
  await owned.bury('c', 'skip')
  await owned.bury('d', 'skip')
  const ids = await rows<{ id: number }>('select id::int from tidemark.dead_letter order by id')
  const [foreign, ours, recent, odd] = ids.map(({ id }) => id)
  const logged = `update tidemark.dead_letter set log_time = now() - interval '30 days', headers = $2 where id = $1`
  await database.query(logged, [foreign, '[["ce_id","m-1"],["ce_source","/legacy"]]'])
  await database.query(logged, [ours, '[["ce_id","m-2"],["tidemark-coordinate","s.1/1/0/1/1"]]'])
  await database.query(logged, [odd, '[["ce_id","m-3"],["ce_source","/legacy"],["note","a\\u0000b"]]'])
  await database.query('update tidemark.dead_letter set log_time = now() where id = $1', [recent])
  await database.query(`update tidemark.inbox_rotation set current = 1, previous = 0, since = now() - interval '1 day',
    began = array[now() - interval '8 days', now() - interval '1 day', null, null]`)
  const inbox = async (): Promise<PostgresInboxStore> => new PostgresInboxStore({ database })
  const kinds = [redriveKind({ store: async () => letters, horizon: { inbox } })]
  await using _runner = runOperations({ store, kinds, leaseMs: 500, idleMs: 10 })
  const { id } = await start({})
  await untilEnded(id)
  const results = new Map((await operations.items(id)).map(({ data, outcome, reason }) => [Number(data['id']), { outcome, reason }]))
  const leftAlone = { outcome: 'skipped', reason: expect.stringContaining('a copy of it may have taken effect') as string }
  expect([results.get(foreign!), results.get(odd!)]).toEqual([leftAlone, leftAlone])
  expect([results.get(ours!)?.outcome, results.get(recent!)?.outcome]).toEqual(['started', 'started'])
  const forced = await start({ force: true })
  await untilEnded(forced.id)
  const forcedItems = await operations.items(forced.id)
  expect(new Map(forcedItems.map(({ data, outcome }) => [data['id'], outcome]))).toEqual(
    new Map([
      [foreign, 'started'],
      [odd, 'started'],
    ]),
  )
})

test('of a step with old letters only those of the step are looked at, and no payload is read where the headers say what it is', async () => {
  const owned = await partition()
  for (const key of ['a', 'b', 'c']) await owned.bury(key, 'skip')
  await database.query(`update tidemark.dead_letter set log_time = now() - interval '30 days',
    message_id = nullif(message_id, 'id-0'), headers = case log_offset when 0 then '[]' else '[["ce_id","m"],["ce_source","/legacy"],["ce_type","Thing"]]' end::json`)
  await database.query(`update tidemark.inbox_rotation set current = 1, previous = 0, since = now() - interval '1 day',
    began = array[now() - interval '8 days', now() - interval '1 day', null, null]`)
  const read: number[] = []
  class Watched extends PostgresDeadLetterStore {
    override get(id: number): ReturnType<PostgresDeadLetterStore['get']> {
      read.push(id)
      return super.get(id)
    }
  }
  class Asked extends PostgresInboxStore {
    override state(): never {
      throw new Error('reads all letters of the group')
    }
  }
  const watched = new Watched({ database })
  const kind = redriveKind({ store: async () => watched, horizon: { inbox: async () => new Asked({ database }) } }) as IdempotentKind
  const { letters: found } = await letters.list({})
  const items = found.map(({ id, version }, place) => ({
    place,
    group: String(id),
    data: { id, version },
    outcome: null,
    reason: null,
    at: null,
  }))
  const operation = await operations.plan('redrive', redriveParams({}), { actor: ada })
  const results = await kind.step(items, { operation, signal: new AbortController().signal })
  const byOffset = found.map(({ offset }, place) => [offset, results.find((one) => one.place === place)!.outcome])
  // Without any id there is no copy that could be told from it.
  expect(new Map(byOffset as [number, string][])).toEqual(
    new Map([
      [0, 'started'],
      [1, 'skipped'],
      [2, 'skipped'],
    ]),
  )
  expect(read).toEqual([found.find(({ offset }) => offset === 0)!.id])
})

test('a letter that died in a retry topic is judged by the definition of the topic that it came from', async () => {
  const owned = await partition()
  await owned.bury('a', 'skip')
  const passedOn = { 'tidemark-original-topic': 'things', 'tidemark-original-partition': '0', 'tidemark-original-offset': '7' }
  const headers = [...Object.entries({ ...passedOn, 'tidemark-original-timestamp': '1750000000000' }), ['ce_type', 'Thing']]
  await database.query(`update tidemark.dead_letter set topic = 'things.retry.1', headers = $1`, [JSON.stringify(headers)])
  const preview = async () => (await desk([things(1)]).preview('redrive', redriveParams({}), { actor: ada })).summary
  expect(await preview()).toMatchObject({ schemaProblems: [{ problem: 'EVENT_INVALID', count: 1 }] })
  await database.query(`update tidemark.dead_letter set value = '{"n":1,"label":"good"}'`)
  expect(await preview()).toMatchObject({ schemaProblems: [] })
})

test('letters are frozen over one connection: the selection does not keep the one that stores them waiting', async () => {
  const owned = await partition()
  for (let i = 0; i < 5; i++) await owned.bury(`key ${i}`, 'skip')
  const single = new PostgresDatabase({ connectionString: url, maxConnections: 1 })
  const own = new PostgresDeadLetterStore({ database: single })
  const { id } = await start({})
  const runner = runOperations({
    store: new PostgresOperationStore({ database: single }),
    kinds: [redriveKind({ store: async () => own })],
    leaseMs: 5_000,
    idleMs: 10,
  })
  await untilEnded(id)
  await runner.stop()
  await single.close()
  expect((await operations.get(id)).counts.started).toBe(5)
})

/** One step of a redrive of all letters, as the first process takes it. */
async function firstStep(store: DeadLetterStore) {
  const kind = redriveKind({ store: async () => store }) as IdempotentKind
  const operation = await operations.plan('redrive', redriveParams({}), { actor: ada })
  const items: Item[] = []
  for await (const page of kind.freeze(operation)) {
    for (const item of page) items.push({ ...item, place: items.length, outcome: null, reason: null, at: null })
  }
  return { items, done: kind.step(items, { operation, signal: new AbortController().signal }) }
}

test('a letter that another process of the same operation has redriven in the same moment is started, not left alone', async () => {
  const owned = await partition()
  await owned.bury('a', 'skip')
  class Twice extends PostgresDeadLetterStore {
    override async redrive(...given: Parameters<DeadLetterStore['redrive']>): Promise<readonly RedriveOutcome[]> {
      await super.redrive(...given)
      return super.redrive(...given)
    }
  }
  const { done } = await firstStep(new Twice({ database }))
  expect(await done).toEqual([{ place: 0, outcome: 'started' }])
})

test('a step that fails at one partition has left off the others, too, before it says so', async () => {
  const owned = await partition()
  for (const one of [owned, await owned.sibling(1)]) await one.bury('a', 'skip')
  const [failed, goOn] = [deferred(), deferred()]
  class Failing extends PostgresDeadLetterStore {
    override async redrive(...given: Parameters<DeadLetterStore['redrive']>): Promise<readonly RedriveOutcome[]> {
      if (given[0][0]!.id === failing) {
        failed.resolve()
        throw new RangeError('on purpose')
      }
      await goOn.promise
      return super.redrive(...given)
    }
  }
  const { letters: found } = await letters.list({})
  const failing = found[0]!.id
  const { done } = await firstStep(new Failing({ database }))
  let hasEnded = false
  const ended = done.catch((error: unknown) => {
    hasEnded = true
    return error
  })
  await failed.promise
  await setImmediate()
  expect(hasEnded).toBe(false)
  goOn.resolve()
  expect(await ended).toBeInstanceOf(RangeError)
  expect((await letters.list({})).letters.map(({ id }) => id)).toEqual([failing])
})

test('letters that die again are failures, and stop what is still to come', async () => {
  const owned = await partition()
  for (let i = 0; i < 10; i++) await owned.bury(`key ${i}`, 'skip')
  const { id } = await start({ filter: { groups: [owned.ref.group] } }, { canary: [0.4, 1], maxFailures: 0.2, observeMs: 20_000 })
  await using _runner = run()
  await until('the canary is out', async () => (await operations.get(id)).counts.started === 4)
  const [first, ...others] = await rows<{ id: string }>(`select id from tidemark.dead_letter where state = 'redriven' order by log_offset`)
  await database.query('delete from tidemark.parked_msg')
  await database.query(`update tidemark.dead_letter set state = 'dead', version = version + 1 where id = $1`, [first!.id])
  await database.query('update tidemark.dead_letter set ended_at = now() where id = any($1::bigint[])', [others.map((one) => one.id)])
  expect(await untilEnded(id)).toBe('failed')
  const { counts, error } = await operations.get(id)
  expect([counts, error]).toEqual([{ done: 3, failed: 1, skipped: 0, started: 0 }, expect.stringContaining('1 of 4')])
  expect(await operations.items(id, { outcomes: ['failed'] })).toMatchObject([{ reason: 'it died again: TypeError' }])
  expect((await letters.count({ groups: [owned.ref.group] })).count).toBe(7)
})

test('letters that are handled in time are done', async () => {
  const owned = await partition()
  await owned.bury('a', 'skip')
  const { id } = await start({}, { observeMs: 20_000 })
  await using _runner = run()
  await until('it is out', async () => (await operations.get(id)).counts.started === 1)
  await database.query('update tidemark.dead_letter set ended_at = now()')
  expect(await untilEnded(id)).toBe('done')
  expect((await operations.get(id)).counts).toMatchObject({ done: 1, started: 0 })
})

test('the process of the operator dies at half: another one goes on, and every letter is redriven exactly once', async () => {
  await insertManyLetters(database, 2_000)
  await insertManyPositions(database)
  const { id } = await start({})
  const killed = startProcess()
  await until('half of it is done', async () => (await operations.get(id)).next >= 900)
  await killed.kill()
  const after = await operations.get(id)
  expect(after.next).toBeLessThan(1_800)
  startProcess()
  expect(await untilEnded(id)).toBe('done')
  expect((await operations.get(id)).counts).toEqual({ done: 0, failed: 0, skipped: 0, started: 1_800 })
  expect(
    await rows(`select state, redrives, version, count(*)::int as letters from tidemark.dead_letter where redrives > 0 group by 1, 2, 3`),
  ).toEqual([{ state: 'redriven', redrives: 1, version: 2, letters: 1_800 }])
  expect(await rows('select count(*)::int as waiting, count(distinct letter_id)::int as letters from tidemark.parked_msg')).toEqual([
    { waiting: 1_800, letters: 1_800 },
  ])
  expect(await rows('select count(*)::int as events from tidemark.dead_letter_event')).toEqual([{ events: 1_800 }])
})

test.each(['redrive:after-commit:3', 'operation:after-effect:2', 'operation:after-step:2'])(
  'a process killed at %s has its step repeated without a second redrive',
  async (point) => {
    const owned = await partition()
    for (let i = 0; i < 250; i++) await owned.bury(`key ${i % 50}`, 'skip')
    const { id } = await start({ filter: { groups: [owned.ref.group] } }, { canary: [0.5, 1], observeMs: 0 })
    expect((await startProcess({ TIDEMARK_CRASH_POINT: point }).ended).signal).toBe('SIGKILL')
    await using _runner = run()
    expect(await untilEnded(id)).toBe('done')
    expect((await operations.get(id)).counts).toEqual({ done: 0, failed: 0, skipped: 0, started: 250 })
    expect(await rows('select distinct redrives, version from tidemark.dead_letter')).toEqual([{ redrives: 1, version: 2 }])
  },
)

test('paused in mid-run, nothing more is redriven; resumed by another process the rest is', async () => {
  await insertManyLetters(database, 1_000)
  await insertManyPositions(database)
  const { id } = await start({}, { rate: 1_000, observeMs: 0, canary: [1] })
  const first = startProcess()
  await until('some are out', async () => (await operations.get(id)).next >= 200)
  await operations.pause(id, { actor: ada })
  await until('it is left', async () => {
    first.signal('SIGTERM')
    return (await first.ended).code === 0
  })
  const { next } = await operations.get(id)
  expect(next).toBeLessThan(900)
  await operations.resume(id, { actor: ada })
  await using _runner = run()
  expect(await untilEnded(id)).toBe('done')
  expect((await operations.get(id)).counts).toMatchObject({ started: 900, skipped: 0 })
  expect(await rows(`select distinct redrives from tidemark.dead_letter where state = 'redriven' and redrives > 0`)).toEqual([
    { redrives: 1 },
  ])
})
