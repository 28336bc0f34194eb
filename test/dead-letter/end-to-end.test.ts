import { afterAll, afterEach, expect, test } from 'vitest'
import { type Service, event, service, settled } from 'tidemark'
import { PostgresDatabase, PostgresDeadLetterStore, postgres, postgresBroker } from 'tidemark/postgres'
import { z } from 'zod'
import { testDatabase } from '../support/postgres.ts'
import { until } from '../support/until.ts'

const schema = z.object({ key: z.string(), n: z.number(), bad: z.boolean() })
/** An event of a topic of its own, for each test. */
const changed = (aggregate: string) => event('Changed', { aggregate, key: ({ key }) => key, schema })
type Changed = ReturnType<typeof changed>

const { connectionString } = await testDatabase('end_to_end')
const connection = { connectionString: connectionString() }
const log = postgresBroker(connection)
const database = new PostgresDatabase(connection)
await database.query('create table effect (place bigint generated always as identity, group_name text, key text, n int, bad boolean)')
const store = new PostgresDeadLetterStore({ database })

const running: Service[] = []
afterEach(() => Promise.all(running.splice(0).map((one) => one.stop())))
afterAll(async () => {
  await log.close()
  await database.close()
})

/** What the handlers cannot handle, by group. */
const broken = new Set<string>()

/** A service whose handler fails for bad messages while its group is broken. */
async function started(group: string, Changed: Changed): Promise<Service> {
  const one = service('bank', {
    database: postgres(connection),
    broker: log,
    group,
    consumer: { retry: { maxAttempts: 1 }, breaker: false },
  })
  one.consume(Changed, async ({ data: { key, n, bad } }, { tx }) => {
    if (bad && broken.has(group)) throw new RangeError('cannot be handled')
    await tx.query('insert into effect (group_name, key, n, bad) values ($1, $2, $3, $4)', [group, key, n, bad])
  })
  running.push(one)
  await one.start()
  return one
}

async function publish(
  from: Service,
  Changed: Changed,
  keys: readonly string[],
  ns: readonly number[],
  isBad: (n: number) => boolean,
): Promise<void> {
  for (const n of ns) {
    await from.transaction((tx) =>
      from.publishAll(
        tx,
        keys.map((key) => ({ event: Changed, data: { key, n, bad: isBad(n) } })),
      ),
    )
  }
}

async function effects(group: string): Promise<Readonly<Record<string, readonly number[]>>> {
  const rows = await database.query<{ key: string; n: number }>('select key, n from effect where group_name = $1 order by place', [group])
  const keys: Record<string, number[]> = {}
  for (const { key, n } of rows) (keys[key] ??= []).push(n)
  return keys
}

const letters = (group: string): Promise<number> => store.count({ groups: [group] }).then(({ count }) => count)

test('dead letters of many keys are redriven while new messages of the same keys come: each key in its order, each effect once, nothing missing', async () => {
  const [group, other] = ['redriven', 'bystander']
  broken.add(group)
  const Changed = changed('redriven')
  const [one] = [await started(group, Changed), await started(other, Changed)]
  const keys = Array.from({ length: 12 }, (_, i) => `r-${i}`)
  await publish(one, Changed, keys, [0, 1, 2, 3], (n) => n === 1)
  await until('every key is blocked', async () => (await letters(group)) === keys.length)
  broken.delete(group)
  const coming = publish(one, Changed, keys, [4, 5, 6, 7], () => false)
  expect(await one.deadLetters.replayAll({ groups: [group] })).toBe(keys.length)
  await coming
  const all = Object.fromEntries(keys.map((key) => [key, [0, 1, 2, 3, 4, 5, 6, 7]]))
  await until('all is handled', async () => Object.values(await effects(group)).flat().length >= keys.length * 8)
  await settled([one])
  expect(await effects(group)).toEqual(all)
  // The other group saw each message once, and no redrive.
  expect(await effects(other)).toEqual(all)
  const { letters: ended } = await store.list({ groups: [group], states: ['redriven'] })
  expect(ended.map(({ redrives, endedAt }) => [redrives, endedAt instanceof Date])).toEqual(keys.map(() => [1, true]))
  expect(await database.query('select from tidemark.parked_key where group_name = $1', [group])).toEqual([])
})

test('a letter that dies again is the same letter, with its attempts added; edited and redriven, it is handled as edited, and its successors after it', async () => {
  const group = 'edited'
  const Changed = changed(group)
  broken.add(group)
  const one = await started(group, Changed)
  await publish(one, Changed, ['e-1'], [0, 1], (n) => n === 0)
  await until('it is dead', async () => (await letters(group)) === 1)
  const [first] = (await store.list({ groups: [group] })).letters
  const before = (await store.get(first!.id))!
  await one.deadLetters.replay(first!.id)
  await until('it is dead again', async () => (await letters(group)) === 1)
  const again = (await store.get(first!.id))!
  expect(again).toMatchObject({
    redrives: 1,
    state: 'dead',
    retryCount: before.retryCount + again.attempts.length - before.attempts.length,
  })
  expect(again.attempts.length).toBeGreaterThan(before.attempts.length)
  expect(again.firstFailedAt).toEqual(before.firstFailedAt)
  expect(again.version).toBeGreaterThan(before.version)
  expect(await effects(group)).toEqual({})

  await one.deadLetters.edit(first!.id, { event: Changed, data: { key: 'e-1', n: 10, bad: false }, reason: 'by hand', redrive: true })
  await until('both are handled', async () => (await effects(group))['e-1']?.length === 2)
  expect(await effects(group)).toEqual({ 'e-1': [10, 1] })
  expect((await store.get(first!.id))!.history.map(({ action }) => action)).toEqual(['redriven', 'edited', 'redriven'])
})

test('discarding the head of a key lets those behind it be handled', async () => {
  const group = 'discarded'
  const Changed = changed(group)
  broken.add(group)
  const one = await started(group, Changed)
  await publish(one, Changed, ['d-1'], [0, 1, 2], (n) => n === 0)
  await until('it is dead', async () => (await letters(group)) === 1)
  const [letter] = (await store.list({ groups: [group] })).letters
  await one.deadLetters.discard(letter!.id, { actor: 'ada', reason: 'a test account' })
  await until('the others are handled', async () => (await effects(group))['d-1']?.length === 2)
  expect(await effects(group)).toEqual({ 'd-1': [1, 2] })
  expect(await store.get(letter!.id)).toMatchObject({ state: 'discarded', endedBy: 'ada', endReason: 'a test account' })
})
