import fc from 'fast-check'
import { afterEach, expect, test } from 'vitest'
import { from, member, readAll, reader, record, rejects, sender, texts } from '../../src/conformance/broker/fixture.ts'
import { durableServer, testDatabase } from '../support/postgres.ts'
import { until } from '../support/until.ts'
import { brokerDatabase } from './support/broker-database.ts'

const database = await testDatabase('broker_log')
const brokers = await brokerDatabase(database)
const pool = database.pool({ max: 2 })
const quiet = await durableServer()
const durable = await quiet.database('durable')
const durablePool = durable.pool({ max: 1 })

afterEach(() => brokers.close())

test('log_records shows what a fetch returns, decoded', async () => {
  const broker = brokers.connect()
  await broker.topics([{ name: 'shown', partitions: 1 }])
  const { send } = await sender(broker, 'shown', { source: 'shown.1', header: false })
  const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array))
  const nullable = fc.option(bytes, { nil: null })
  const name = fc.string({ maxLength: 5 }).filter((text) => !text.includes('\0'))
  const headers = fc.array(fc.tuple(name, fc.option(fc.oneof(bytes, fc.string({ unit: 'grapheme', maxLength: 100 })), { nil: null })), {
    maxLength: 5,
  })
  const pages = fc.array(fc.array(fc.record({ key: nullable, value: nullable, headers }), { minLength: 1, maxLength: 20 }), {
    minLength: 1,
    maxLength: 4,
  })
  let offset = 0
  await fc.assert(
    fc.asyncProperty(pages, async (generated) => {
      for (const page of generated) await send(...page.map((one) => record('shown', 0, one.value, one)))
      const membership = await reader(broker, 'shown')
      const fetched = await readAll(membership, from('shown', 1, offset))
      await membership.leave()
      const expected = generated.flat()
      expect(fetched.map(({ key, value }) => [key, value])).toEqual(expected.map(({ key, value }) => [key, value]))
      expect(fetched.map((one) => one.headers)).toEqual(expected.map((one) => one.headers))
      const { rows } = await pool.query<{ offset: string; key: Buffer | null; value: Buffer | null; headers: [string, string | null][] }>(
        `select * from tidemark.log_records('shown', 0, $1)`,
        [offset],
      )
      expect(rows.map((row) => [Number(row.offset), row.key, row.value])).toEqual(fetched.map((one) => [one.offset, one.key, one.value]))
      expect(rows.map((row) => row.headers.map(([header]) => header))).toEqual(fetched.map((one) => one.headers.map(([header]) => header)))
      offset += expected.length
    }),
    { numRuns: 20 },
  )
})

test('a page larger than a batch is stored as several, and a record as large as the limit alone', async () => {
  const broker = brokers.connect()
  await broker.topics([{ name: 'large', partitions: 1 }])
  const { send } = await sender(broker, 'large', { source: 'large.1', header: false })
  await send(...Array.from({ length: 20 }, (_, i) => record('large', 0, Buffer.alloc(i === 10 ? 1_000_000 : 60_000, i))))
  const { rows } = await pool.query<{ records: number; bytes: number }>(
    `select records, octet_length(body) as bytes from tidemark.log_batch b join tidemark.log_topic t on t.key = b.topic where t.name = 'large' order by base_offset`,
  )
  expect(rows.every(({ records, bytes }) => records === 1 || bytes <= 256 * 1024 + 1024)).toBe(true)
  expect(rows.length).toBeGreaterThan(5)
  const records = await readAll(await reader(broker, 'large'), from('large', 1), 300_000)
  expect(records.map(({ value }) => value![0])).toEqual(Array.from({ length: 20 }, (_, i) => i))
})

test('a reader behind retention sees no gap that is not announced', async () => {
  const broker = brokers.connect({ retentionBytes: 20_000 })
  await broker.topics([{ name: 'trimmed', partitions: 1 }])
  const { send } = await sender(broker, 'trimmed', { source: 'trimmed.1' })
  const membership = await reader(broker, 'trimmed')
  let sent = 0
  let done = false
  const appending = (async () => {
    for (; sent < 600; sent += 3) await send(...[0, 1, 2].map((i) => record('trimmed', 0, `${sent + i}`.padEnd(500))))
    done = true
  })()
  const trimming = (async () => {
    while (!done) await broker.trim()
  })()
  let offset = 0
  let jumps = 0
  while (offset < 600) {
    const [found] = await membership.fetch(from('trimmed', 1, offset), { maxBytes: 2_000, maxWaitMs: 1_000 })
    if (found?.outOfRange !== undefined) {
      expect(found.outOfRange.startOffset).toBeGreaterThan(offset)
      offset = found.outOfRange.startOffset
      jumps += 1
      continue
    }
    for (const { offset: at, value } of found?.records ?? []) {
      expect(at).toBe(offset)
      expect(Number(value)).toBe(at)
      offset += 1
    }
    // Slower than the sender, so that retention overtakes it.
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  await Promise.all([appending, trimming])
  expect(jumps).toBeGreaterThan(0)
  await broker.trim()
  const { rows } = await pool.query<{ bytes: string; stored: string; start_offset: string; first: string }>(
    `select h.bytes, h.start_offset, sum(octet_length(b.body)) as stored, min(b.base_offset) as first
     from tidemark.log_head h join tidemark.log_topic t on t.key = h.topic join tidemark.log_batch b on b.topic = h.topic where t.name = 'trimmed' group by 1, 2`,
  )
  expect(rows[0]!.bytes).toBe(rows[0]!.stored)
  expect(rows[0]!.start_offset).toBe(rows[0]!.first)
  expect(Number(rows[0]!.bytes)).toBeLessThanOrEqual(20_000)
})

test('an append is durable when it resolves, whatever the session says', async () => {
  // On a server of its own, to whose log nobody else writes. The flushed end of the log of a forgetful session lags behind.
  await durablePool.query(`alter database "${durable.name}" set synchronous_commit = off`)
  const forgetfulBrokers = await brokerDatabase(durable)
  const broker = forgetfulBrokers.connect()
  await broker.topics([{ name: 'durable', partitions: 1 }])
  const { send } = await sender(broker, 'durable', { source: 'durable.1' })
  const looks: boolean[] = []
  for (let i = 0; i < 5 && !looks.includes(true); i++) {
    await send(record('durable', 0, 'x'))
    const { rows } = await durablePool.query<{ flushed: boolean }>(
      `select pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn() as flushed`,
    )
    looks.push(rows[0]!.flushed)
  }
  await forgetfulBrokers.close()
  expect(looks).toContain(true)
})

test('without its tables a broker says what to do', async () => {
  const broker = brokers.connect({ schema: 'not_there', migrate: false })
  const error = await rejects(broker.topics([{ name: 't' }]), 'SCHEMA_MISSING')
  expect(error.message).toContain('tidemark migrate')
})

test('a server that is not there is unreachable, and that may be tried again', async () => {
  const broker = brokers.connect({ connection: () => ({ ...database.connection(), port: 1 }) })
  const error = await rejects(broker.topics([{ name: 't' }]), 'BROKER_UNREACHABLE')
  expect(error.retryable).toBe(true)
})

test('a group whose members are quiet is only looked at, not locked', async () => {
  const broker = brokers.connect()
  await broker.topics([{ name: 'quiet', partitions: 4 }])
  const one = await member(broker, { group: 'quiet', topics: ['quiet'], sessionTimeoutMs: 1_500 })
  const two = await member(broker, { group: 'quiet', topics: ['quiet'], sessionTimeoutMs: 1_500 })
  await until('both to share', () => one.held().length === 2 && two.held().length === 2)
  const version = async (): Promise<string> =>
    (await pool.query<{ version: string }>(`select version from tidemark.log_group where name = 'quiet'`)).rows[0]!.version
  const beat = async (): Promise<Date> =>
    (await pool.query<{ at: Date }>(`select min(heartbeat_at) as at from tidemark.log_member where "group" = 'quiet'`)).rows[0]!.at
  await until('the last claim to be seen by all', async () => {
    const before = await version()
    const at = await beat()
    await until('a beat of both', async () => (await beat()) > at)
    return before === (await version())
  })
  const client = await pool.connect()
  await client.query('begin')
  await client.query(`select from tidemark.log_group where name = 'quiet' for update`)
  const at = await beat()
  await until('both to beat beside the lock, twice', async () => (await beat()).getTime() - at.getTime() > 700)
  await client.query('commit')
  client.release()
  expect([...one.told, ...two.told].filter(({ what }) => what === 'lost')).toEqual([])
})

test('offsets a group noted are shown to people', async () => {
  const broker = brokers.connect()
  await broker.topics([{ name: 'noted', partitions: 2 }])
  const { membership } = await member(broker, { group: 'noting', topics: ['noted'] })
  await membership.commit([{ topic: 'noted', partition: 1, offset: 7 }])
  const { rows } = await pool.query(`select partition, groups from tidemark.log_partitions where topic = 'noted' order by 1`)
  expect(rows).toEqual([
    { partition: 0, groups: {} },
    { partition: 1, groups: { noting: 7 } },
  ])
  expect(texts(await readAll(membership, from('noted', 2)))).toEqual([])
})
