import { randomUUID } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { type Connect, startConnect } from '../../servers/connect.ts'
import { main } from '../../src/cli/main.ts'
import { kafka } from '../../src/drivers/kafka/index.ts'
import { memoryBroker } from '../../src/drivers/memory/index.ts'
import { postgres } from '../../src/drivers/postgres/index.ts'
import { type Broker, type EventDefinition, type LogRecord, decodeMessage, event, readEnvelope } from '../../src/message/index.ts'
import { runRelay } from '../../src/outbox/index.ts'
import { service } from '../../src/service/index.ts'
import { outboxDatabase } from '../outbox/support/outbox-database.ts'
import { kafkaAvailable, ownKafkaAvailable, testKafka, type TestKafka } from '../support/kafka.ts'
import { testDatabase } from '../support/postgres.ts'
import { until } from '../support/until.ts'

const missing = kafkaAvailable.missing || ownKafkaAvailable.missing

describe.skipIf(missing)(`Debezium, set up by what the command prints${ownKafkaAvailable.note}`, async () => {
  const { url, database, store } = await outboxDatabase('interop')
  const billingDatabase = await testDatabase('billing')
  const partitions = 4
  /** With no rights but those of the printed SQL. */
  const role = { name: `debezium_${randomUUID().slice(0, 8)}`, password: randomUUID() }
  let brokers: TestKafka
  let connect: Connect
  let directory: string
  beforeAll(async () => {
    brokers = await testKafka()
    directory = await mkdtemp(join(tmpdir(), 'tidemark-interop-'))
    // The password is where the printed reference says.
    await writeFile(join(directory, 'database.properties'), `password=${role.password}\n`)
    await database.query(`create role ${role.name} login replication password '${role.password}'`)
    connect = await startConnect({
      kafka: brokers,
      properties: {
        'config.providers': 'file',
        'config.providers.file.class': 'org.apache.kafka.common.config.provider.FileConfigProvider',
        // A worker that is killed has noted nothing, and sends everything again.
        'offset.flush.interval.ms': 3_600_000,
      },
    })
  })
  afterAll(async () => {
    await connect.stop()
    await until('no slot is in use', async () => (await slots('and active')).length === 0)
    await database.query('select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = current_database()')
    await database.query(`drop owned by ${role.name}`)
    await database.query(`drop role ${role.name}`)
    await rm(directory, { recursive: true })
  })

  const slots = (and: string) => database.query(`select from pg_replication_slots where database = current_database() ${and}`)

  /** What `tidemark cdc debezium-config` prints, and nothing but that. */
  async function printed(
    ...more: readonly string[]
  ): Promise<{ connector: { name: string; config: Record<string, string> }; sql: string }> {
    let stdout = ''
    const reference = `\${file:${join(directory, 'database.properties')}:password}`
    const flags = ['--url', url, '--user', role.name, '--password-reference', reference, ...more]
    const io = { stdout: { write: (text: string) => (stdout += text) }, stderr: { write: () => undefined }, env: {}, user: 'tester' }
    expect(await main(['cdc', 'debezium-config', '--json', ...flags], io)).toBe(0)
    return JSON.parse(stdout) as Awaited<ReturnType<typeof printed>>
  }

  async function startDebezium(...more: readonly string[]): Promise<string> {
    const { connector, sql } = await printed(...more)
    if ((await database.query('select from pg_publication')).length === 0) await database.query(sql)
    await connect.createConnector(connector.name, connector.config)
    await until('the slot is active', async () => (await slots('and active')).length === 1)
    return connector.name
  }

  const shop = service('shop', { database: postgres({ connectionString: url }), broker: memoryBroker(), relay: false })
  afterAll(() => shop.stop())

  /** All records of a topic, once there are so many. */
  async function records(broker: Broker, topic: string, count: number): Promise<LogRecord[]> {
    const silent = { assigned: () => undefined, revoked: async () => undefined, lost: () => undefined, failed: () => undefined }
    const membership = await broker.join({ group: brokers.name('reader'), topics: [topic] }, silent)
    const found: LogRecord[] = []
    const next = Array.from({ length: partitions }, () => 0)
    await until(`${count} records of ${topic}`, async () => {
      const from = next.map((offset, partition) => ({ topic, partition, offset }))
      for (const { partition, records: some, nextOffset } of await membership.fetch(from, { maxBytes: 1e6, maxWaitMs: 200 })) {
        found.push(...some)
        next[partition] = nextOffset
      }
      return found.length >= count
    })
    await membership.leave()
    return found
  }

  /** Everything that a consumer can see of a message, but where exactly it stands and what only our relay says. */
  async function seen(record: LogRecord, definition: EventDefinition) {
    const envelope = readEnvelope(record)
    const { offset: _, coordinate: __, ...message } = await decodeMessage(envelope, definition)
    return { ...message, identity: envelope.identity, key: record.key?.toString('hex'), value: record.value?.toString('hex') }
  }

  test('brings what our own relay does: topic, partition, key, value, and everything of the message but the coordinate', async () => {
    const aggregate = brokers.name('order')
    const Placed = event('OrderPlaced', {
      aggregate,
      key: ({ id }) => id,
      version: 3,
      upcasters: { 2: (old) => old },
      schema: z.object({ id: z.string(), note: z.string() }),
    })
    const Scanned = event('Scanned', {
      aggregate,
      key: ({ hex }) => `scan-${hex.slice(0, 2)}`,
      schema: z.object({ hex: z.string() }),
      codec: {
        contentType: 'application/octet-stream',
        encode: (data) => Buffer.from((data as { hex: string }).hex, 'hex'),
        decode: (bytes) => ({ hex: bytes.toString('hex') }),
      },
    })
    const every = Buffer.from(Array.from({ length: 256 }, (_, i) => i)).toString('hex')
    await shop.transaction(async (tx) => {
      await shop.publish(tx, Placed, { id: 'o-1', note: 'plain' })
      await shop.publish(
        tx,
        Placed,
        { id: 'ключ 🔑 "q" \\', note: 'naïve 🧾 "quoted"\n' },
        {
          subject: 'orders/1',
          correlationId: 'saga "7"',
          causationId: 'cause-1',
          sequenceNumber: 42,
          aggregateVersion: 7,
          traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
          time: new Date('2024-02-29T12:00:00.123Z'),
          headers: { tenant: 'a "b", ключ', empty: '', __proto: 'x' },
        },
      )
      await shop.publish(tx, Scanned, { hex: every })
      await shop.publish(tx, Scanned, { hex: '' })
      await shop.publish(tx, Placed, { id: 'o-2', note: 'x'.repeat(300_000) })
    })
    await using kafkaBroker = closing(kafka({ brokers: brokers.brokers }))
    const ours = memoryBroker()
    for (const broker of [kafkaBroker.broker, ours]) await broker.topics([{ name: Placed.topic, partitions }])
    const name = await startDebezium()
    // Some come from the snapshot, others from the log.
    await shop.transaction((tx) => shop.publish(tx, Placed, { id: 'o-1', note: 'later' }))

    const theirs = await records(kafkaBroker.broker, Placed.topic, 6)
    await connect.deleteConnector(name)
    const relay = runRelay({ store, broker: ours, topics: [{ name: Placed.topic, partitions }], idleMs: 5, maintain: false })
    const reference = await records(ours, Placed.topic, 6)
    await relay.stop()

    const definitionOf = (record: LogRecord): EventDefinition => (readEnvelope(record).type === 'Scanned' ? Scanned : Placed)
    const all = async (some: readonly LogRecord[]) => {
      const messages = await Promise.all(some.map((record) => seen(record, definitionOf(record))))
      return messages.sort((a, b) => (a.id < b.id ? -1 : 1))
    }
    expect(await all(theirs)).toEqual(await all(reference))
    // Of one key in the order of the commits.
    const notes = theirs
      .filter(({ key }) => key?.toString() === 'o-1')
      .map(({ value }) => (JSON.parse(value!.toString()) as { note: string }).note)
    expect(notes).toEqual(['plain', 'later'])
    // And as consumers expect it that were written for Debezium's router: the key as text, the id as a header, the bytes of the payload as the value.
    const first = theirs.find(({ key }) => key?.toString() === 'o-1')!
    expect(first.headers.find(([header]) => header === 'id')?.[1]?.toString()).toBe((await seen(first, Placed)).id)
  })

  test('is read by our consumers, each message once and in the order of its key, although it dies and sends again', async () => {
    const Counted = event('Counted', {
      aggregate: brokers.name('counter'),
      key: ({ key }) => key,
      schema: z.object({ key: z.string(), n: z.number() }),
    })
    const billingUrl = billingDatabase.connectionString()
    const broker = kafka({ brokers: brokers.brokers, defaultPartitions: partitions })
    const billing = service('billing', { database: postgres({ connectionString: billingUrl }), broker, relay: false })
    billing.consume(
      Counted,
      async ({ data }, { tx }) => void (await tx.query('insert into effect (key, n) values ($1, $2)', [data.key, data.n])),
    )
    await billing.query('create table effect (place bigint generated always as identity, key text, n int)')
    await billing.start()
    const keys = ['a', 'b', 'c', 'd', 'e']
    const publish = async (from: number, to: number) => {
      for (let n = from; n < to; n++) {
        await shop.transaction(async (tx) => {
          for (const key of keys) await shop.publish(tx, Counted, { key, n })
        })
      }
    }
    const handled = async () => (await billing.query<{ n: string }>('select count(*) as n from effect'))[0]!.n
    try {
      const name = await startDebezium('--name', 'second', '--slot', 'second', '--snapshot', 'no_data')
      await publish(0, 100)
      await until('some are handled', async () => Number(await handled()) > 100)
      await connect.kill()
      await publish(100, 200)
      await connect.restart()
      await until('all are handled', async () => Number(await handled()) >= 1_000)
      const effects = await billing.query<{ key: string; n: number }>('select key, n from effect order by place')
      for (const key of keys)
        expect(effects.filter((one) => one.key === key).map(({ n }) => n)).toEqual(Array.from({ length: 200 }, (_, n) => n))
      expect((await billing.status()).groups[0]!.consumer!.counts.duplicates.inbox).toBeGreaterThanOrEqual(100)
      expect(await connect.status(name)).toMatchObject({ connector: { state: 'RUNNING' }, tasks: [{ state: 'RUNNING' }] })
      // Its heartbeats are no bytes, and pass all the same.
      const { connector } = await printed()
      const heartbeats = `__debezium-heartbeat.${connector.config['topic.prefix']}`
      await until('a heartbeat', async () => (await broker.offsets(heartbeats, 'latest'))[0]! > 0)
      await connect.deleteConnector(name)
    } finally {
      await billing.stop()
      await broker.close()
    }
  })
})

function closing<B extends Broker>(broker: B): { readonly broker: B } & AsyncDisposable {
  return { broker, [Symbol.asyncDispose]: () => broker.close() }
}
