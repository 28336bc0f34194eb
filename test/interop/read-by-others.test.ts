import { beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { kafkaTool } from '../../servers/tools.ts'
import { type KafkaBrokerOptions, kafka } from '../../src/drivers/kafka/index.ts'
import { isAvailable } from '../../src/drivers/kafka/record-batch/compression.ts'
import { postgres } from '../../src/drivers/postgres/index.ts'
import { type Coordinate, type EventDefinition, event, partitionOf } from '../../src/message/index.ts'
import { type Service, service } from '../../src/service/index.ts'
import { type TestKafka, kafkaAvailable, ownKafkaAvailable, testKafka } from '../support/kafka.ts'
import { testDatabase } from '../support/postgres.ts'
import { until } from '../support/until.ts'
import { describeGroup } from './support/describe-group.ts'
import { kcatAvailable, kcatRead } from './support/kcat.ts'

const missing = kafkaAvailable.missing || ownKafkaAvailable.missing || kcatAvailable.missing

describe.skipIf(missing)(`What our relay sends${ownKafkaAvailable.note}${kcatAvailable.note}`, async () => {
  const { connectionString } = await testDatabase('read_by_others')
  let cluster: TestKafka
  beforeAll(async () => {
    cluster = await testKafka()
  })

  /** Publishes by a service that relays to a topic of one partition, and waits until all of it is there. */
  async function relayed(
    definition: EventDefinition,
    publish: (shop: Service) => Promise<void>,
    options: Partial<KafkaBrokerOptions> = {},
  ) {
    const broker = kafka({ brokers: cluster.brokers, ...options })
    const database = postgres({ connectionString: connectionString(), maxConnections: 4 })
    const shop = service('shop', { database, broker, partitions: 1, source: '/shop', outbox: { idleMs: 5 } })
    try {
      await broker.topics([{ name: definition.topic, partitions: 1 }])
      await publish(shop)
      await shop.start()
      await shop.settled()
      // As text, because what is compared with is text.
      return await shop.query<{ id: string; key: string; type: string; time: string; payload: Buffer }>(
        `select id::text, aggregateid as key, type, headers->>'ce_time' as time, payload from tidemark.outbox where aggregatetype = $1 order by seq`,
        [definition.aggregate],
      )
    } finally {
      await shop.stop()
      await broker.close()
    }
  }

  const order = (aggregate: string) =>
    event('OrderPlaced', { aggregate, key: ({ id }) => id, schema: z.object({ id: z.string(), note: z.string() }) })

  test('is what a consumer of Debezium router expects: topic, key, header id, payload; in kcat and in the console consumer, byte by byte', async () => {
    const Placed = order(cluster.name('order'))
    const rows = await relayed(Placed, (shop) =>
      shop.transaction(async (tx) => {
        await shop.publish(tx, Placed, { id: 'o-1', note: 'plain' })
        await shop.publish(
          tx,
          Placed,
          { id: 'ключ 🔑', note: 'naïve "🧾"\t' },
          { headers: { tenant: 'ü' }, correlationId: 'saga-7', sequenceNumber: 42 },
        )
      }),
    )
    expect(Placed.topic).toBe(`outbox.event.${Placed.aggregate}`)
    const headersOf = ({ id, key, time }: (typeof rows)[number], more: Readonly<Record<string, string>>, place: string) => ({
      id,
      ce_specversion: '1.0',
      ce_id: id,
      ce_type: 'OrderPlaced',
      ce_partitionkey: key,
      ce_time: time,
      ce_source: '/shop',
      ce_correlationid: id,
      ce_schemaversion: '1',
      ...more,
      'content-type': 'application/json',
      'tidemark-coordinate': place,
    })

    const seen = lines(await kcatRead(cluster.brokers, Placed.topic, 2, ['-J'])).map((line) => JSON.parse(line) as KcatJson)
    const places = seen.map(({ headers }) => headers.at(-1)!)
    for (const place of places) expect(place).toMatch(/^[0-9a-z]+\.\d+\/\d+\/\d+\/\d+\/\d+$/)
    const expected = [
      headersOf(rows[0]!, {}, places[0]!),
      headersOf(rows[1]!, { ce_correlationid: 'saga-7', tenant: 'ü', ce_sequence: '0000000000000042' }, places[1]!),
    ]
    expect(seen.map(({ headers }) => headers.length)).toEqual(expected.map((headers) => Object.keys(headers).length * 2))
    expect(seen.map(({ headers }) => pairs(headers))).toEqual(expected)
    // The id stands first, and the rest in an order that does not change from message to message.
    expect(seen.map(({ headers }) => headers.slice(0, 2))).toEqual(rows.map(({ id }) => ['id', id]))
    expect(seen.map(({ key, payload }) => [key, payload])).toEqual([
      ['o-1', '{"id":"o-1","note":"plain"}'],
      ['ключ 🔑', '{"id":"ключ 🔑","note":"naïve \\"🧾\\"\\t"}'],
    ])
    expect(seen.map(({ payload }) => payload)).toEqual(rows.map(({ payload }) => payload.toString()))

    const shown = ['key', 'headers', 'partition', 'offset'].flatMap((what) => ['--property', `print.${what}=true`])
    const args = [
      '--bootstrap-server',
      cluster.brokers.join(),
      '--topic',
      Placed.topic,
      '--from-beginning',
      '--max-messages',
      '2',
      ...shown,
    ]
    const { stdout } = await kafkaTool('kafka-console-consumer', args)
    const printed = seen.map(({ headers, key, payload }, offset) => {
      const text = Object.entries(pairs(headers)).map(([name, value]) => `${name}:${value}`)
      return `Partition:0\tOffset:${offset}\t${text.join()}\t${key}\t${payload}\n`
    })
    expect(stdout).toBe(printed.join(''))
  })

  test('arrives with every byte of a binary payload, of an empty one, and of a large one', async () => {
    const every = Buffer.from(Array.from({ length: 512 }, (_, i) => i & 255))
    const payloads = [every, Buffer.alloc(0), Buffer.alloc(900_000, every)]
    const Scanned = event('Scanned', {
      aggregate: cluster.name('scan'),
      key: () => 'scanner',
      schema: z.object({ base64: z.string() }),
      codec: {
        contentType: 'application/octet-stream',
        encode: (data) => Buffer.from((data as { base64: string }).base64, 'base64'),
        decode: (bytes) => ({ base64: bytes.toString('base64') }),
      },
    })
    const rows = await relayed(Scanned, (shop) =>
      shop.transaction(async (tx) => {
        for (const payload of payloads) await shop.publish(tx, Scanned, { base64: payload.toString('base64') })
      }),
    )
    expect(rows.every(({ payload }, i) => payload.equals(payloads[i]!))).toBe(true)
    // Each value behind its length of four bytes.
    const found = await kcatRead(cluster.brokers, Scanned.topic, payloads.length, ['-f', '%R%s'])
    expect(found.equals(Buffer.concat(payloads.flatMap((payload) => [lengthOf(payload), payload])))).toBe(true)
  })

  describe.each([
    ['none', false],
    ['gzip', false],
    ['snappy', false],
    ['lz4', false],
    ['zstd', false],
    ['none', true],
    ['lz4', true],
  ] as const)('with compression %s, in transactions: %s,', (compression, fenceStreams) => {
    test.skipIf(!isAvailable(compression))('is read by kcat, in order', async () => {
      const topic = cluster.name('compressed')
      const broker = kafka({ brokers: cluster.brokers, compression, fenceStreams, transactionalIdPrefix: cluster.name('t') })
      try {
        await broker.topics([{ name: topic, partitions: 1 }])
        const sourceEpoch = `${cluster.name('source')}.1`
        const appender = await broker.appender({ sourceEpoch, generation: 1, stream: 0, epoch: 1, topics: [topic] })
        const expected: string[] = []
        for (let tick = 1; tick <= 3; tick++) {
          const page = Array.from({ length: 500 }, (_, seq) => {
            const key = `k${seq % 7}`
            const value = `${tick}.${seq} ${'täglich '.repeat(seq % 60)}`
            expected.push(`${key}|a=${seq},b=|${value}`)
            const coordinate: Coordinate = { sourceEpoch, generation: 1, stream: 0, tick, seq }
            const headers = [['a', String(seq)] as const, ['b', ''] as const]
            return {
              topic,
              partition: partitionOf(Buffer.from(key), 1),
              key: Buffer.from(key),
              value: Buffer.from(value),
              headers,
              coordinate,
            }
          })
          await appender.append(page)
        }
        await appender.close()
        const found = lines(await kcatRead(cluster.brokers, topic, expected.length, ['-f', '%k|%h|%s\\n']))
        expect(found).toEqual(expected)
      } finally {
        await broker.close()
      }
    })
  })

  test('has its offsets shown by kafka-consumer-groups, at the end once everything is handled', async () => {
    const Placed = order(cluster.name('order'))
    const group = cluster.name('billing')
    const broker = kafka({ brokers: cluster.brokers })
    const database = postgres({ connectionString: connectionString(), maxConnections: 6 })
    const shop = service('shop', { database, broker, partitions: 3, consumer: { idleAdvanceMs: 50 } })
    let handled = 0
    shop.consume(Placed, { group }, () => void (handled += 1))
    const total = 30
    try {
      await shop.start()
      await shop.transaction(async (tx) => {
        for (let n = 0; n < total; n++) await shop.publish(tx, Placed, { id: `o-${n}`, note: '' })
      })
      await shop.settled()
      const ends = await broker.offsets(Placed.topic, 'latest')
      await until('the offsets are written', async () =>
        (await broker.committed(group, Placed.topic)).every((offset, i) => offset === ends[i]),
      )
      // While it runs, and after its members have left.
      const running = await describeGroup(cluster.brokers, group)
      await shop.stop()
      const left = await describeGroup(cluster.brokers, group)
      expect(handled).toBe(total)
      for (const described of [running, left]) {
        expect(
          described
            .map(({ TOPIC, PARTITION, ...row }) => [TOPIC, Number(PARTITION), Number(row['CURRENT-OFFSET']), Number(row.LAG)])
            .sort(),
        ).toEqual(ends.map((end, partition) => [Placed.topic, partition, end, 0]))
      }
      expect(running.every((row) => row['CLIENT-ID'] !== '-')).toBe(true)
      expect(left.every((row) => row['CONSUMER-ID'] === '-')).toBe(true)
    } finally {
      await shop.stop()
      await broker.close()
    }
  })
})

/** As kcat prints a record with `-J`: names and values of headers by turns. */
interface KcatJson {
  readonly key: string
  readonly payload: string
  readonly headers: readonly string[]
}

function pairs(headers: readonly string[]): Record<string, string> {
  const entries = headers.flatMap((name, i) => (i % 2 === 0 ? [[name, headers[i + 1]!] as const] : []))
  return Object.fromEntries(entries)
}

function lines(output: Buffer): string[] {
  return output.toString().split('\n').slice(0, -1)
}

function lengthOf(bytes: Buffer): Buffer {
  const length = Buffer.alloc(4)
  length.writeInt32BE(bytes.length)
  return length
}
