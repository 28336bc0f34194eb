import { afterAll, expect, test } from 'vitest'
import { z } from 'zod'
import { main } from '../../src/cli/main.ts'
import { PostgresDatabase, postgres, postgresBroker } from '../../src/drivers/postgres/index.ts'
import { LogEraser } from '../../src/drivers/postgres/log/log-eraser.ts'
import { once } from '../../src/inbox/index.ts'
import { event, service } from '../../src/index.ts'
import { testDatabase } from '../support/postgres.ts'
import { until } from '../support/until.ts'

const { connectionString } = await testDatabase('cli_erase')
const url = connectionString()
const database = new PostgresDatabase({ connectionString: url, maxConnections: 4 })
afterAll(() => database.close())

const Changed = event('Changed', {
  aggregate: 'customer',
  key: ({ id }) => id,
  schema: z.object({ id: z.string(), n: z.number(), name: z.string() }),
})

async function run(env: Record<string, string>, ...argv: string[]) {
  let stdout = ''
  let stderr = ''
  const io = { stdout: { write: (text: string) => (stdout += text) }, stderr: { write: (text: string) => (stderr += text) } }
  const exitCode = await main(argv, { ...io, env: { DATABASE_URL: url, ...env }, user: 'tester' })
  return { exitCode, stdout, stderr }
}

/** Every place of the database where this text stands, by table and column. */
async function placesOf(text: string): Promise<readonly string[]> {
  const columns = await database.query<{ name: string; col: string; type: string }>(
    `select c.oid::regclass::text as name, quote_ident(a.attname) as col, a.atttypid::regtype::text as type from pg_class c join pg_attribute a on a.attrelid = c.oid
     where c.relnamespace = 'tidemark'::regnamespace and c.relkind = 'r' and a.attnum > 0 and not a.attisdropped
       and a.atttypid::regtype::text in ('text', 'bytea', 'json', 'jsonb')`,
  )
  const found: string[] = []
  for (const { name, col, type } of columns) {
    const holds = type === 'bytea' ? `position($1::bytea in ${col}) > 0` : `position($2 in ${col}::text) > 0`
    const params = [Buffer.from(text), text]
    const used = type === 'bytea' ? [params[0]] : [params[1]]
    const [row] = await database.query(`select exists (select from ${name} where ${holds.replace('$2', '$1')}) as there`, used)
    if (row!['there'] === true) found.push(`${name}.${col}`)
  }
  return found
}

/** Retention counts by the bytes that each partition's head notes. */
async function bytesAreExact(): Promise<boolean> {
  const [row] = await database.query(
    `select bool_and(bytes = (select coalesce(sum(octet_length(body)), 0) from tidemark.log_batch b where b.topic = h.topic and b.partition = h.partition)) as exact
     from tidemark.log_head h`,
  )
  return row!['exact'] === true
}

test('a person’s messages are erased in every store, others’ stay, and nothing moves', async () => {
  const broker = postgresBroker({ connectionString: url })
  const consumer = { retry: { maxAttempts: 1 } }
  const shop = service('shop', { database: postgres({ connectionString: url }), broker, partitions: 2, consumer })
  const seen: string[] = []
  shop.consume(Changed, async (message) => {
    const { data } = message
    if (data.n === 1) throw new TypeError(`cannot handle ${data.name}`)
    await once(shop.ledger, message, 'greet', () => Promise.resolve({ greeted: data.name }))
    seen.push(`${data.id} ${data.n}`)
  })
  void shop.done.catch(() => undefined)
  const send = (id: string, n: number, name: string): Promise<void> => shop.transaction((tx) => shop.publish(tx, Changed, { id, n, name }))
  await shop.start()
  for (const n of [0, 1, 2]) {
    await send('c-17', n, 'Ada Lovelace')
    await send('c-18', n === 1 ? 5 : n, 'Grace Hopper')
  }
  expect(seen).toEqual(expect.any(Array))
  await until('one is dead, and one waits behind it', async () => {
    const [row] = await database.query(
      `select (select count(*)::int from tidemark.dead_letter where state = 'dead') as dead, (select count(*)::int from tidemark.parked_msg) as waiting`,
    )
    return row!['dead'] === 1 && row!['waiting'] === 2
  })
  await until('the others are handled', () => seen.length === 4)
  await shop.stop()
  await broker.close()
  const before = await database.query('select partition, lane, next_offset from tidemark.consumer_position order by 1, 2')
  const heads = await database.query('select partition, start_offset, next_offset from tidemark.log_head order by 1')
  expect((await placesOf('Lovelace')).length).toBeGreaterThan(3)

  const dry = await run({ BROKER_URL: url }, 'erase', '--key', 'customer/c-17', '--dry-run')
  expect([dry.exitCode, dry.stderr]).toEqual([0, ''])
  for (const line of [/responses of outside calls\s+1/, /waiting messages\s+2/, /dead letters\s+1/, /outbox\s+3/, /log\s+3/])
    expect(dry.stdout).toMatch(line)
  expect((await run({}, 'erase', '--key', 'customer/c-17')).exitCode).toBe(2)
  expect((await placesOf('Lovelace')).length).toBeGreaterThan(3)

  const done = await run({ BROKER_URL: url }, 'erase', '--key', 'customer/c-17', '--reason', 'request 4711', '--yes')
  expect([done.exitCode, done.stderr]).toEqual([0, expect.stringContaining('waiting messages')])
  for (const line of [
    /waiting messages\s+done\s+2 erased/,
    /dead letters\s+done\s+1 erased/,
    /outbox\s+done\s+3 erased/,
    /log\s+done\s+3 erased/,
  ]) {
    expect(done.stdout).toMatch(line)
  }
  expect(await placesOf('Lovelace')).toEqual([])
  expect((await placesOf('Hopper')).length).toBeGreaterThan(1)
  expect(await database.query('select partition, lane, next_offset from tidemark.consumer_position order by 1, 2')).toEqual(before)
  expect(await database.query('select partition, start_offset, next_offset from tidemark.log_head order by 1')).toEqual(heads)
  expect(await bytesAreExact()).toBe(true)
  expect(await database.query('select state, reason, ended_by, end_reason from tidemark.dead_letter')).toEqual([
    { state: 'discarded', reason: 'erased', ended_by: 'tester', end_reason: 'erased' },
  ])
  expect(await database.query('select from tidemark.parked_key')).toEqual([])
  const lines = await database.query(
    `select actor, verb, reason, details->'offsets' as offsets from tidemark.audit_log where verb = 'message.discard'`,
  )
  expect(lines).toEqual([
    { actor: 'tester', verb: 'message.discard', reason: 'request 4711', offsets: [expect.any(String), expect.any(String)] },
  ])
  const again = await run({ BROKER_URL: url }, 'erase', '--key', 'outbox.event.customer/c-17', '--dry-run', '--json')
  expect(JSON.parse(again.stdout)).toMatchObject({ plan: { count: 0 } })
})

test('after it the key goes on, and a new group reads past what was erased', async () => {
  const broker = postgresBroker({ connectionString: url })
  const shop = service('shop', { database: postgres({ connectionString: url }), broker })
  const seen: string[] = []
  const other: string[] = []
  shop.consume(Changed, ({ data }) => void seen.push(`${data.id} ${data.n}`))
  shop.consume(Changed, { group: 'late' }, ({ data }) => void other.push(`${data.id} ${data.n}`))
  await shop.start()
  await shop.transaction((tx) => shop.publish(tx, Changed, { id: 'c-17', n: 7, name: 'again' }))
  await shop.settled()
  await shop.stop()
  await broker.close()
  expect(seen).toEqual(['c-17 7'])
  expect(other.filter((one) => one.startsWith('c-17'))).toEqual(['c-17 7'])
  expect(other.filter((one) => one.startsWith('c-18'))).toHaveLength(3)
  expect((await database.query(`select from tidemark.dead_letter where state = 'dead'`)).length).toBe(0)
})

test('people whose messages stand in one batch are erased at the same time, and nothing of any of them comes back', async () => {
  const broker = postgresBroker({ connectionString: url })
  const shop = service('shop', { database: postgres({ connectionString: url }), broker })
  await shop.start()
  const keys = Array.from({ length: 8 }, (_, n) => `together-${n}`)
  await shop.transaction((tx) =>
    shop.publishAll(
      tx,
      keys.map((id) => ({ event: Changed, data: { id, n: 0, name: `Somebody ${id}` } })),
    ),
  )
  await shop.settled()
  await shop.stop()
  await broker.close()
  const log = new LogEraser({ database })
  const counts = await Promise.all(keys.map((key) => log.erase({ aggregateType: 'customer', topics: ['outbox.event.customer'], key })))
  expect(counts).toEqual(keys.map(() => ({ count: 1 })))
  expect(await placesOf('Somebody')).not.toContain('tidemark.log_batch.body')
  expect(await bytesAreExact()).toBe(true)
})

test('what is not published yet is left, and said: exit code 8', async () => {
  const shop = service('shop', { database: postgres({ connectionString: url }), broker: postgresBroker({ connectionString: url }) })
  await shop.transaction((tx) => shop.publish(tx, Changed, { id: 'c-19', n: 0, name: 'Alan' }))
  await shop.stop()
  const { exitCode, stdout } = await run({}, 'erase', '--key', 'customer/c-19', '--yes')
  expect([exitCode, stdout]).toEqual([8, expect.stringMatching(/outbox\s+failed\s+0 erased, 1 left: not published yet/)])
  expect(stdout).toContain('pass --broker URL')
})

test('on Kafka it says what has to be done there', async () => {
  const { exitCode, stdout } = await run({ BROKER_URL: 'kafka://kafka-1:9092' }, 'erase', '--key', 'customer/c-20', '--dry-run')
  expect([exitCode, stdout]).toEqual([0, expect.stringContaining('where the topic is compacted')])
  expect((await run({}, 'erase', '--key', 'nonsense', '--dry-run')).exitCode).toBe(2)
})

test('what waits in retry topics, and copies of the dead, are erased with the rest', async () => {
  const broker = postgresBroker({ connectionString: url })
  const consumer = { retry: { maxAttempts: 3, immediate: 0 }, retryTopics: { delaysMs: [1, 2] } }
  const desk = service('desk', { database: postgres({ connectionString: url }), broker, consumer }).consume(Changed, ({ data }) => {
    if (data.id === 'c-31') throw new TypeError('cannot handle it')
  })
  await desk.start()
  await desk.transaction((tx) => desk.publish(tx, Changed, { id: 'c-31', n: 1, name: 'Mary Somerville' }))
  await desk.transaction((tx) => desk.publish(tx, Changed, { id: 'c-32', n: 1, name: 'Emmy Noether' }))
  await desk.settled()
  await desk.stop()
  await broker.close()
  const done = await run({ BROKER_URL: url }, 'erase', '--key', 'customer/c-31', '--yes')
  expect(done.exitCode, done.stderr).toBe(0)
  // The message, two that waited, and the copy of the dead one.
  for (const line of [/outbox\s+done\s+4 erased/, /log\s+done\s+4 erased/, /dead letters\s+done\s+1 erased/])
    expect(done.stdout).toMatch(line)
  expect(await placesOf('Somerville')).toEqual([])
  expect((await placesOf('Noether')).length).toBeGreaterThan(0)
})

test('retry topics with names of their own are erased where they are named, and it is said where they are not', async () => {
  const broker = postgresBroker({ connectionString: url })
  const names = { delaysMs: [1, 2], topicName: ({ tier }: { readonly tier: number }) => `later-${tier}` }
  const consumer = { retry: { maxAttempts: 3, immediate: 0 }, retryTopics: names }
  const desk = service('named', { database: postgres({ connectionString: url }), broker, consumer }).consume(Changed, ({ data }) => {
    if (data.id === 'c-41') throw new TypeError('cannot handle it')
  })
  await desk.start()
  await desk.transaction((tx) => desk.publish(tx, Changed, { id: 'c-41', n: 1, name: 'Ada Byron' }))
  await desk.settled()
  await desk.stop()
  await broker.close()
  const some = await run({ BROKER_URL: url }, 'erase', '--key', 'customer/c-41', '--yes')
  expect(some.stdout).toContain('name them with --topics')
  expect(some.stdout).toContain('Idempotency-Key')
  expect((await placesOf('Byron')).length).toBeGreaterThan(0)
  const all = await run({ BROKER_URL: url }, 'erase', '--key', 'customer/c-41', '--topics', 'later-1, later-2', '--yes')
  expect(all.exitCode, all.stderr).toBe(0)
  expect(await placesOf('Byron')).toEqual([])
  expect((await run({ BROKER_URL: url }, 'erase', '--key', 'customer/c-41', '--topics', 'later-1,', '--yes')).exitCode).toBe(2)
})
