import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { kafkaTool } from '../../servers/tools.ts'
import { PostgresDatabase } from '../../src/drivers/postgres/database.ts'
import { migrate } from '../../src/drivers/postgres/migrations/migrate.ts'
import { type KafkaBroker, kafka } from '../../src/drivers/kafka/index.ts'
import { seeded } from '../outbox/support/adversary.ts'
import type { ChildProgram } from '../support/child-program.ts'
import { type TestKafka, kafkaAvailable, ownKafkaAvailable, testKafka } from '../support/kafka.ts'
import { testDatabase } from '../support/postgres.ts'
import { until } from '../support/until.ts'
import { deadlyNumber, isDoomed } from './support/foreign-event.ts'
import { describeGroup } from './support/describe-group.ts'
import { kcat, kcatAvailable } from './support/kcat.ts'
import { startForeignWorker } from './support/start-foreign-worker.ts'

const messages = Number(process.env['TIDEMARK_FOREIGN_MESSAGES'] ?? 10_000)
const seed = Number(process.env['TIDEMARK_RACE_SEED'] ?? Date.now() % 100_000)
const partitions = 8
const keys = Array.from({ length: 200 }, (_, i) => `key-${i}`)
const perKey = Math.ceil(messages / keys.length)
/** Written one after the other, while processes are killed. */
const slices = 8
const keylessMessages = Math.ceil(messages / 2)
const compressions = ['none', 'gzip', 'snappy', 'lz4'] as const

const missing = kafkaAvailable.missing || ownKafkaAvailable.missing || kcatAvailable.missing

describe.skipIf(missing)(`a load of others${ownKafkaAvailable.note}${kcatAvailable.note}`, async () => {
  const { connectionString } = await testDatabase('foreign_load')
  const url = connectionString()
  const database = new PostgresDatabase({ connectionString: url, maxConnections: 4 })
  afterAll(() => database.close())
  const directory = await mkdtemp(join(tmpdir(), 'tidemark-foreign-'))
  afterAll(() => rm(directory, { recursive: true }))
  let cluster: TestKafka
  let broker: KafkaBroker
  beforeAll(async () => {
    await migrate(database, { set: 'service' })
    await database.query('create table effect (place bigint generated always as identity, topic text, id text, key text, n int)')
    await database.query('create table due (key text, n int)')
    await database.query('insert into due select key, generate_series(1, $2::int) from unnest($1::text[]) as key', [keys, perKey])
    cluster = await testKafka()
    broker = kafka({ brokers: cluster.brokers })
  })
  afterAll(() => broker.close())

  test(
    'is handled by three processes that are killed: nothing lost, nothing doubled, each key in order',
    { timeout: 120_000 + messages * 10 },
    async () => {
      const topics = { keyed: cluster.name('keyed'), keyless: cluster.name('keyless') }
      await broker.topics(Object.values(topics).map((name) => ({ name, partitions })))
      const group = cluster.name('foreign')
      const start = (): ChildProgram => startForeignWorker({ url, brokers: cluster.brokers, group, ...topics })
      const workers = [start(), start(), start()]
      await Promise.all(workers.map((worker) => worker.untilSaid(/^taken$/m)))

      const harm = { killed: 0, stopped: 0 }
      const ahead: string[] = []
      let writing = true
      const watching = watch(group, Object.values(topics), () => writing, ahead)
      const underWay = async (): Promise<boolean> =>
        writing || (harm.killed < messages / 1_500 && (await handledOf(topics.keyed)) < 0.7 * messages)
      const harming = harass(workers, start, underWay, harm)
      await Promise.all([writeKeyed(topics.keyed), writeKeyless(topics.keyless)])
      writing = false
      await Promise.all([harming, watching])

      await untilHandled(group, Object.values(topics))
      const outcome = await counted(topics.keyed, topics.keyless)
      console.log(`seed ${seed}:`, JSON.stringify({ ...harm, ...outcome }))
      const doomed = keys.filter(isDoomed).length
      expect(outcome).toEqual({
        ...{ lost: 0, doubled: 0, misplaced: 0, dead: doomed, parkedOutOfOrder: 0 },
        handled: messages - doomed * (perKey - deadlyNumber + 1),
        // By their places, so that two equal lines are two messages.
        keyless: keylessMessages,
        keylessDoubled: 0,
      })
      expect(harm.killed).toBeGreaterThan(1)
      // Kafka's offsets follow ours: they are never ahead, and in the end they are there.
      expect(ahead).toEqual([])
      const ends = await Promise.all(Object.values(topics).map((topic) => broker.offsets(topic, 'latest')))
      await until('the offsets are written', async () => {
        const written = await Promise.all(Object.values(topics).map((topic) => broker.committed(group, topic)))
        return written.every((offsets, i) => offsets.every((offset, partition) => offset === ends[i]![partition]))
      })
      for (const worker of workers) worker.tell('stop')
      expect(await Promise.all(workers.map(async ({ ended }) => (await ended).code))).toEqual(workers.map(() => 0))
      const described = await describeGroup(cluster.brokers, group)
      expect(described.map(({ LAG }) => LAG)).toEqual(Array.from({ length: partitions * 2 }, () => '0'))
    },
  )

  /** Each slice, and the one before again, as a program sends again that does not know whether it has sent: with kcat, in turn by all compressions. */
  async function writeKeyed(topic: string): Promise<void> {
    const size = Math.ceil(perKey / slices)
    const write = async (slice: number, turn: number): Promise<void> => {
      const lines: string[] = []
      for (let n = slice * size + 1; n <= Math.min(perKey, (slice + 1) * size); n++) {
        for (const key of keys) lines.push(`${key}\t${JSON.stringify({ key, n })}\n`)
      }
      const compression = compressions[turn % compressions.length]!
      const args = ['-P', '-q', '-b', cluster.brokers.join(), '-t', topic, '-K', '\\t', '-z', compression, '-X', 'enable.idempotence=true']
      expect(await kcat(args, { input: lines.join('') })).toMatchObject({ code: 0 })
    }
    for (let slice = 0; slice <= slices; slice++) {
      if (slice < slices) await write(slice, slice)
      if (slice > 0) await write(slice - 1, slice + 1)
      // The processes are to be killed meanwhile.
      await pause(600)
    }
  }

  /** Lines of a file in an order of its own, some of them more than once, some never, without keys. */
  async function writeKeyless(topic: string): Promise<void> {
    const file = join(directory, 'payloads')
    await writeFile(file, Array.from({ length: 500 }, (_, n) => `${JSON.stringify({ key: '', n })}\n`).join(''))
    const load = ['--payload-file', file, '--num-records', String(keylessMessages), '--throughput', String(Math.ceil(keylessMessages / 5))]
    const args = ['--topic', topic, ...load, '--producer-props', `bootstrap.servers=${cluster.brokers.join()}`, 'acks=all']
    expect((await kafkaTool('kafka-producer-perf-test', args)).stdout).toContain(`${keylessMessages} records sent`)
  }

  /** Kills processes, or stops them in order, and starts others. */
  async function harass(
    workers: ChildProgram[],
    start: () => ChildProgram,
    underWay: () => Promise<boolean>,
    harm: { killed: number; stopped: number },
  ): Promise<void> {
    const random = seeded(seed)
    while (await underWay()) {
      await pause(400 + random() * 1_600)
      const [victim] = workers.splice(Math.floor(random() * workers.length), 1)
      if (random() < 0.75) {
        await victim!.kill()
        harm.killed += 1
      } else {
        victim!.tell('stop')
        harm.stopped += 1
      }
      workers.push(start())
    }
  }

  async function handledOf(topic: string): Promise<number> {
    const [row] = await database.query<{ n: number }>('select count(*)::int as n from effect where topic = $1', [topic])
    return row!.n
  }

  /** Compares the offsets that Kafka has with the positions in the database, which are read after them. */
  async function watch(group: string, topics: readonly string[], running: () => boolean, ahead: string[]): Promise<void> {
    while (running()) {
      for (const topic of topics) {
        const committed = await broker.committed(group, topic)
        const positions = await positionsOf(group, topic)
        for (const [partition, offset] of committed.entries()) {
          if (offset !== null && offset > (positions[partition] ?? 0))
            ahead.push(`${topic}-${partition}: ${offset} > ${positions[partition]}`)
        }
      }
      await pause(100)
    }
  }

  /** How far every lane of each partition has come. */
  async function positionsOf(group: string, topic: string): Promise<readonly number[]> {
    const found = await database.query<{ partition: number; n: number }>(
      `select partition, min(next_offset)::int as n from tidemark.consumer_position where group_name = $1 and topic = $2 group by partition`,
      [group, topic],
    )
    const positions: number[] = []
    for (const { partition, n } of found) positions[partition] = n
    return positions
  }

  async function untilHandled(group: string, topics: readonly string[]): Promise<void> {
    for (const topic of topics) {
      const ends = await broker.offsets(topic, 'latest')
      const reached = async (): Promise<boolean> => {
        const positions = await positionsOf(group, topic)
        return ends.every((end, partition) => (positions[partition] ?? 0) >= end)
      }
      await until(`${topic} is handled up to ${ends.join()}`, reached, 60_000 + messages * 5)
    }
    const waiting = `select from tidemark.parked_key where group_name = $1 and next_attempt_at < 'infinity'`
    await until('nothing waits to be tried again', async () => (await database.query(waiting, [group])).length === 0)
  }

  async function counted(keyed: string, keyless: string): Promise<Record<string, number>> {
    const [row] = await database.query<Record<string, number>>(outcomeQuery, [keyed, keyless])
    return row!
  }
})

/** `parkedOutOfOrder`: messages of a key that wait in another order than they came first. */
const outcomeQuery = `
  with done as (select key, n, lag(n) over (partition by key order by place) as before from effect where topic = $1),
    letter as (select d.log_offset, v.key, v.n from tidemark.dead_letter d, json_to_record(convert_from(d.value, 'utf8')::json) as v(key text, n int) where d.topic = $1),
    waits as (select p.log_offset, v.key, v.n from tidemark.parked_msg p, json_to_record(convert_from(p.value, 'utf8')::json) as v(key text, n int)
      where p.topic = $1 and not p.dead),
    queue as (select key, n, lag(n) over (partition by key order by first) as before from
      (select key, n, min(log_offset) as first from waits group by key, n) w where n > ${deadlyNumber})
  select (select count(*) from (select key, n from due except select key, n from done except select key, n from letter except select key, n from waits) l)::int as lost,
    (select count(*) - count(distinct (key, n)) from done)::int as doubled,
    (select count(*) from done where n <> coalesce(before, 0) + 1)::int as misplaced,
    (select count(*) from letter where n = ${deadlyNumber})::int as dead,
    (select count(*) from queue where n <> coalesce(before, ${deadlyNumber}) + 1)::int as "parkedOutOfOrder",
    (select count(*) from done)::int as handled,
    (select count(distinct id) from effect where topic = $2)::int as keyless,
    (select count(*) - count(distinct id) from effect where topic = $2)::int as "keylessDoubled"`

/** The point is what happens meanwhile. */
function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
