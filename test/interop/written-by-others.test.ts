import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { type Consumer, type ConsumerOptions, onMessage } from '../../src/consumer/index.ts'
import { type KafkaBroker, kafka } from '../../src/drivers/kafka/index.ts'
import { isAvailable } from '../../src/drivers/kafka/record-batch/compression.ts'
import { encodeBatch } from '../../src/drivers/kafka/record-batch/encode-batch.ts'
import { type EventDefinition, event, schemaRegistryFraming } from '../../src/message/index.ts'
import { consumerDatabase } from '../consumer/support/consumer-database.ts'
import { RawLog } from '../drivers/kafka/support/raw-log.ts'
import { type TestKafka, kafkaAvailable, testKafka } from '../support/kafka.ts'
import { until } from '../support/until.ts'
import { type KcatRecord, type SendOptions, kcat, kcatAvailable, kcatSend, sendArguments, sendInput } from './support/kcat.ts'

type Sent = SendOptions & KcatRecord

const missing = kafkaAvailable.missing || kcatAvailable.missing

describe.skipIf(missing)(`What kcat writes${kafkaAvailable.note}${kcatAvailable.note}`, async () => {
  const { consume, rows } = await consumerDatabase('written_by_others')
  await rows(
    'create table seen (place bigint generated always as identity, id text, source text, type text, key text, n int, at timestamptz, headers jsonb)',
  )
  let cluster: TestKafka
  let broker: KafkaBroker
  beforeAll(async () => {
    cluster = await testKafka()
    broker = kafka({ brokers: cluster.brokers })
  })
  afterAll(() => broker.close())
  beforeEach(async () => {
    await rows(
      'truncate seen, tidemark.consumer_position, tidemark.inbox, tidemark.parked_key, tidemark.parked_msg, tidemark.dead_letter cascade',
    )
  })

  /** An event on a topic of its own, with every record that names no type. */
  async function counted(partitions = 1, more: Pick<EventDefinition, 'codec'> | object = {}): Promise<EventDefinition> {
    const topic = cluster.name('foreign')
    await broker.topics([{ name: topic, partitions }])
    return event('order.placed', { aggregate: 'order', key: () => '', schema: z.object({ n: z.int() }), topic, untyped: true, ...more })
  }

  function handled(definition: EventDefinition, options: Partial<ConsumerOptions> = {}): Consumer {
    const handler = onMessage(definition, async ({ id, source, type, key, data, time, headers }, { tx }) => {
      const { n } = data as { n: number }
      await tx.query('insert into seen (id, source, type, key, n, at, headers) values ($1, $2, $3, $4, $5, $6, $7)', [
        ...[id, source, type, key, n, time, JSON.stringify(headers)],
      ])
    })
    return consume(broker, [handler], options)
  }

  /** Waits until all that is in the topic is handled, or dead. */
  async function settle(consumer: Consumer, { topic }: EventDefinition): Promise<void> {
    const ends = await broker.offsets(topic, 'latest')
    const reached = () => ends.every((end, partition) => (consumer.settledUpTo(topic, partition) ?? -1) >= end)
    await until(`all of ${topic} to be handled`, reached).catch((error: unknown) => {
      throw new Error(`${String(error)} ${JSON.stringify(consumer.status())}`)
    })
  }

  /** All at once: each is a run of kcat, and they have different keys. */
  const send = (topic: string, sent: readonly Sent[]) =>
    Promise.all(sent.map(({ key, value, ...options }) => kcatSend(cluster.brokers, topic, [{ key: key ?? null, value }], options)))

  const seen = () =>
    rows<{ id: string; source: string; key: string | null; n: number }>('select id, source, key, n from seen order by n, place')
  const letters = () =>
    rows<{ key: Buffer | null; value: Buffer | null; error_class: string; reason: string; policy: string }>(
      'select key, value, error_class, reason, policy from tidemark.dead_letter order by id',
    )

  const json = (value: unknown) => JSON.stringify(value)
  const structured = [['content-type', 'application/cloudevents+json; charset=UTF-8']] as const
  const binary = (id: string) =>
    [
      ['ce_specversion', '1.0'],
      ['ce_type', 'order.placed'],
      ['ce_source', '/elsewhere'],
      ['ce_id', id],
    ] as const
  const cloudEvent = { specversion: '1.0', type: 'order.placed', source: '/elsewhere' }
  const inCourse = { eventType: 'order.placed', payload: { n: 7 } }

  test('is handled in whichever form it says what it is, and once, however often it is sent', async () => {
    const Placed = await counted()
    const known: readonly Sent[] = [
      { key: 'k1', value: json({ ...cloudEvent, id: 'e-1', data: { n: 1 } }), headers: structured },
      { key: 'k2', value: json({ ...cloudEvent, id: 'e-2', data_base64: Buffer.from('{"n":2}').toString('base64') }), headers: structured },
      { key: 'k3', value: json({ ...cloudEvent, id: 'e-3', data: { n: 3 } }), headers: [['content-type', 'Application/CloudEvents+JSON']] },
      { key: 'k4', value: '{"n":4}', headers: [...binary('e-4'), ['content-type', 'application/json']] },
      { key: null, value: '{"n":5}', headers: binary('e-5') },
      { key: 'k6', value: json({ ...inCourse, eventId: 'e-6', payload: { n: 6 } }) },
      { key: null, value: `\ufeff\n ${json({ ...inCourse, eventId: 7 })}` },
      {
        key: 'k8',
        value: '{"n":8}',
        headers: [
          ['id', 'e-8'],
          ['eventType', 'order.placed'],
        ],
      },
      { key: 'k9', value: '{"n":9}', headers: [['id', 'e-9']] },
      { key: 'k10', value: '{"n":10}', headers: [['id', Buffer.from([1, 0xfe])]] },
      { key: 'k11', value: '{"n":11}', headers: [['id', Buffer.from([1, 0xff])]] },
    ]
    await send(Placed.topic, known)
    const consumer = handled(Placed)
    await settle(consumer, Placed)
    const expected = [
      ...[1, 2, 3, 4, 5].map((n) => [`e-${n}`, '/elsewhere', n === 5 ? null : `k${n}`, n]),
      ['e-6', Placed.topic, 'k6', 6],
      ['7', Placed.topic, null, 7],
      ...[8, 9].map((n) => [`e-${n}`, Placed.topic, `k${n}`, n]),
      ['hex:01fe', Placed.topic, 'k10', 10],
      ['hex:01ff', Placed.topic, 'k11', 11],
    ]
    const found = async () => (await seen()).map(({ id, source, key, n }) => [id, source, key, n])
    expect(await found()).toEqual(expected)
    // Again, and what was structured in binary.
    await send(Placed.topic, known)
    await send(Placed.topic, [{ key: 'other', value: '{"n":1}', headers: binary('e-1') }])
    await settle(consumer, Placed)
    expect(await found()).toEqual(expected)
    expect(await letters()).toEqual([])
  })

  test('is one message in two partitions, if source and id say so', async () => {
    const Placed = await counted(2)
    await Promise.all(
      [0, 1].map((partition) => send(Placed.topic, [{ key: `k${partition}`, value: '{"n":1}', headers: binary('e'), partition }])),
    )
    await settle(handled(Placed), Placed)
    expect((await seen()).map(({ id }) => id)).toEqual(['e'])
  })

  test('without any envelope is known by its place, or by what idempotencyId finds', async () => {
    const Placed = await counted()
    const tagged = (n: number, tag: string | Buffer | null): Sent => ({ key: 'k', value: json({ n }), headers: [['request-id', tag]] })
    for (const one of [tagged(1, 'r-1'), tagged(2, null), tagged(3, ''), tagged(4, 'r-4'), tagged(5, 'r-1'), tagged(6, ''), tagged(6, '')])
      await send(Placed.topic, [one])
    const outcome = async (group: string, options: Partial<ConsumerOptions>) => {
      await rows('truncate seen')
      await settle(handled(Placed, { group, ...options }), Placed)
      return (await seen()).map(({ id, n }) => [n, id])
    }
    const place = (offset: number) => `${Placed.topic}-0-${offset}`
    expect(await outcome('place', {})).toEqual([...[1, 2, 3, 4, 5, 6, 6].entries()].map(([offset, n]) => [n, place(offset)]))
    const byHeader = [
      [1, 'r-1'],
      [2, place(1)],
      [3, place(2)],
      [4, 'r-4'],
      [6, place(5)],
      [6, place(6)],
    ] as const
    expect(await outcome('header', { idempotencyId: 'request-id' })).toEqual(byHeader)
    const idempotencyId: ConsumerOptions['idempotencyId'] = ({ value }) => (JSON.parse(String(value)) as { n: string }).n
    expect(await outcome('function', { idempotencyId })).toEqual([1, 2, 3, 4, 5, 6].map((n) => [n, String(n)]))
  })

  test('and cannot be handled is dead, with its bytes, and holds up no other key', async () => {
    const Placed = await counted()
    const framed = Buffer.from([0, 0, 0, 0, 7, 2, 0x7b])
    const every = Buffer.from(Array.from({ length: 256 }, (_, i) => i))
    const bad: readonly (readonly [sent: Sent, errorClass: string])[] = [
      [{ key: 'tombstone', value: null }, 'EVENT_INVALID'],
      [{ key: 'tombstone of a known event', value: null, headers: binary('e') }, 'EVENT_INVALID'],
      [{ key: null, value: null }, 'EVENT_INVALID'],
      [{ key: 'empty', value: '' }, 'MESSAGE_UNDECODABLE'],
      [{ key: 'garbage', value: every }, 'MESSAGE_UNDECODABLE'],
      [{ key: null, value: every }, 'MESSAGE_UNDECODABLE'],
      [{ key: 'not UTF-8', value: Buffer.from('{"n":"\xff"}', 'latin1') }, 'MESSAGE_UNDECODABLE'],
      [{ key: 'half', value: '{"n":' }, 'MESSAGE_UNDECODABLE'],
      [{ key: 'another schema', value: '{"n":"one"}' }, 'EVENT_INVALID'],
      [{ key: 'null as JSON', value: 'null' }, 'EVENT_INVALID'],
      [{ key: 'framed', value: framed }, 'MESSAGE_UNDECODABLE'],
      [{ key: 'avro', value: '{"n":1}', headers: [...binary('a'), ['content-type', 'application/avro']] }, 'MESSAGE_UNDECODABLE'],
      [{ key: 'no event', value: '{"n":1}', headers: structured }, 'EVENT_INVALID'],
      [{ key: 'half an event', value: '{"id":"e', headers: structured }, 'MESSAGE_UNDECODABLE'],
      [{ key: 'no event at all', value: null, headers: structured }, 'MESSAGE_UNDECODABLE'],
      [{ key: 'a batch', value: '[]', headers: [['content-type', 'application/cloudevents-batch+json']] }, 'MESSAGE_UNDECODABLE'],
      [{ key: 'base64', value: json({ ...cloudEvent, id: 'b', data_base64: '%' }), headers: structured }, 'MESSAGE_UNDECODABLE'],
      [{ key: 'a rounded id', value: '{"eventType":"order.placed","eventId":9007199254740993,"payload":{"n":1}}' }, 'MESSAGE_UNDECODABLE'],
      [{ key: 'payload in quotes', value: json({ ...inCourse, payload: '{"n":1}' }) }, 'EVENT_INVALID'],
      [
        {
          key: 'a column',
          value: '{"n":1}',
          headers: [
            ['id', 'c'],
            ['tidemark-headers', '{'],
          ],
        },
        'MESSAGE_UNDECODABLE',
      ],
      [{ key: 'a version', value: '{"n":1}', headers: [...binary('v'), ['ce_schemaversion', 'one']] }, 'MESSAGE_UNDECODABLE'],
    ]
    const good = (n: number): Sent => ({ key: `good-${n % 3}`, value: json({ n }) })
    const consumer = handled(Placed)
    await send(Placed.topic, [good(1)])
    await send(
      Placed.topic,
      bad.map(([sent]) => sent),
    )
    // Not dead: it waits for a process that knows the version.
    await send(Placed.topic, [{ key: 'a later version', value: '{"n":1}', headers: [...binary('w'), ['ce_schemaversion', '2']] }])
    // What follows of their keys queues behind them.
    await send(
      Placed.topic,
      bad.slice(3, 5).map(([{ key }]) => ({ key: key!, value: '{"n":0}' })),
    )
    for (const n of [2, 3, 4]) await send(Placed.topic, [good(n)])
    await settle(consumer, Placed)
    expect((await seen()).map(({ n }) => n)).toEqual([1, 2, 3, 4])
    const shown = (key: string | null, value: Buffer | null, errorClass: string) => [key, value?.toString('hex') ?? null, errorClass]
    const dead = (await letters()).map(({ key, value, error_class: errorClass }) => shown(key?.toString() ?? null, value, errorClass))
    const bytesOf = (value: string | Buffer | null | undefined) => (typeof value === 'string' ? Buffer.from(value) : (value ?? null))
    const expected = bad.map(([{ key, value }, errorClass]) => shown(key as string | null, bytesOf(value), errorClass))
    expect(dead.toSorted()).toEqual(expected.toSorted())
    const queued = await rows(`select convert_from(key, 'utf8') as key from tidemark.parked_msg where not dead order by 1`)
    expect(queued).toEqual([{ key: 'a later version' }, { key: 'empty' }, { key: 'garbage' }])
    expect(consumer.status()).toMatchObject({ trouble: null })
  })

  test('may be framed for a schema registry, for a codec of that', async () => {
    const codec = schemaRegistryFraming({
      encode: () => expect.fail('nothing is written'),
      prepare: async (schemaId) => schemaId !== 8,
      decode: (schemaId, bytes) => ({ n: schemaId * 100 + bytes.readUInt8() }),
    })
    const Placed = await counted(1, { codec })
    const framed = (schemaId: number, ...bytes: readonly number[]) => Buffer.from([0, 0, 0, 0, schemaId, ...bytes])
    await send(Placed.topic, [
      { key: 'k1', value: framed(7, 1) },
      { key: 'k2', value: framed(7, 2), headers: [...binary('f'), ['content-type', 'application/vnd.confluent.avro']] },
      { key: 'k3', value: framed(8, 3) },
      { key: 'k4', value: framed(7) },
      { key: 'k5', value: '{"n":1}' },
    ])
    await settle(handled(Placed), Placed)
    expect((await seen()).map(({ n }) => n)).toEqual([701, 702])
    const found = await rows<{ key: string; value: Buffer }>(
      `select convert_from(key, 'utf8') as key, value from tidemark.dead_letter order by 1`,
    )
    expect(found).toEqual([
      { key: 'k3', value: framed(8, 3) },
      { key: 'k4', value: framed(7) },
      { key: 'k5', value: Buffer.from('{"n":1}') },
    ])
  })

  test('may have odd keys and headers', async () => {
    const Placed = await counted()
    const many = Array.from({ length: 5_000 }, (_, i) => [`header-${i}`, String(i)] as const)
    const twice = [
      ['tenant', 'one'],
      ['ce_id', 'first'],
      ['tenant', 'two'],
      ['ce_id', 'last'],
      ['none', null],
      ['__proto__', 'y'],
    ] as const
    const bytes = Buffer.from([0xff, 0x80, 0xc3])
    await send(Placed.topic, [
      { key: 'many', value: '{"n":1}', headers: [...many, ...binary('many')] },
      { key: 'twice', value: '{"n":2}', headers: [['ce_source', '/s'], ...twice] },
      {
        key: bytes,
        value: '{"n":3}',
        headers: [
          ['raw', bytes],
          [bytes, 'x'],
          ['ce_time', bytes],
          ['ce_subject', bytes],
          ['traceparent', bytes],
        ],
      },
      { key: 'k'.repeat(20_000), value: '{"n":4}' },
      { key: '\x7f', value: '{"n":5}', headers: [['id', 'x'.repeat(20_000)]] },
      {
        key: Buffer.from([0xfe]),
        value: 'dead',
        headers: [
          ['raw', bytes],
          [bytes, 'x'],
          ['raw', null],
        ],
      },
    ])
    await settle(handled(Placed), Placed)
    const found = await rows<{ n: number; id: string; at: Date; headers: Record<string, string> }>(
      'select n, id, at, headers from seen order by n',
    )
    expect(found.map(({ n }) => n)).toEqual([1, 2, 3, 4, 5])
    expect(Object.keys(found[0]!.headers)).toHaveLength(5_000)
    expect(found[0]!.headers['header-4999']).toBe('4999')
    expect(found[1]).toMatchObject({ id: 'last', headers: { tenant: 'two', none: '' } })
    expect(Object.entries(found[1]!.headers)).toContainEqual(['__proto__', 'y'])
    expect(found[2]!.headers).toHaveProperty('raw')
    expect(Math.abs(found[2]!.at.getTime() - Date.now())).toBeLessThan(600_000)
    const [letter] = await rows<{ key: Buffer; headers: readonly unknown[] }>('select key, headers from tidemark.dead_letter')
    expect(letter!.key).toEqual(Buffer.from([0xfe]))
    expect(letter!.headers).toEqual([
      ['raw', { base64: bytes.toString('base64') }],
      [bytes.toString(), 'x'],
      ['raw', null],
    ])
  })

  test.each(['gzip', 'snappy', 'lz4', 'zstd'] as const)('is read in whatever compression: %s', async (compression) => {
    const Placed = await counted()
    const records = Array.from({ length: 3_000 }, (_, n) => ({ key: `k${n % 5}`, value: json({ n, text: 'täglich '.repeat(n % 40) }) }))
    await kcatSend(cluster.brokers, Placed.topic, records, { compression, settings: { 'linger.ms': '200' } })
    const consumer = handled(Placed)
    if (isAvailable(compression)) {
      await settle(consumer, Placed)
      expect((await seen()).map(({ n }) => n)).toEqual(records.map((_, n) => n))
    } else {
      // It stops, and says what to do: nothing is passed over.
      await expect(consumer.done).rejects.toMatchObject({ code: 'MESSAGE_UNDECODABLE', message: expect.stringContaining(compression) })
      expect(await seen()).toEqual([])
    }
    expect(await letters()).toEqual([])
  })

  test('in a transaction is handled once it has committed, and never if it was aborted', async () => {
    const Placed = await counted(2)
    const records = (from: number, text = '') =>
      Array.from({ length: 50 }, (_, i) => ({ key: `k${i}`, value: json({ n: from + i, text }) }))
    const ids = [cluster.name('one'), cluster.name('two'), cluster.name('three')]
    const as = (id: string) => ({ settings: { 'transactional.id': id }, headers: [['by', id]] as const })
    const consumer = handled(Placed)
    const kills: (() => void)[] = []
    const broken = ids.slice(0, 2).map((id) => {
      const large = records(1_000, 'x'.repeat(4_000))
      const started = (kill: () => void) => void kills.push(kill)
      return kcat(sendArguments(cluster.brokers, Placed.topic, large, as(id)), { input: sendInput(large), waits: true, started })
    })
    const place = ['-b', cluster.brokers.join(), '-t', Placed.topic]
    const uncommitted = async () =>
      String((await kcat(['-C', '-q', '-e', ...place, '-X', 'isolation.level=read_uncommitted', '-f', '%h'])).stdout)
    await until('both have written', async () => {
      const found = await uncommitted()
      return ids.slice(0, 2).every((id) => found.includes(id))
    })
    await kcatSend(cluster.brokers, Placed.topic, records(0), as(ids[2]!))
    await kcatSend(cluster.brokers, Placed.topic, records(50))
    // Behind a transaction that is open nothing is to be seen.
    expect(await seen()).toEqual([])
    for (const kill of kills) kill()
    await Promise.all(broken)
    // Their successors abort what they have left open.
    await kcatSend(cluster.brokers, Placed.topic, records(100), as(ids[0]!))
    await kcatSend(cluster.brokers, Placed.topic, records(150), as(ids[1]!))
    await until('all that was committed is handled', async () => (await seen()).length >= 200)
    await settle(consumer, Placed)
    expect((await seen()).map(({ n }) => n)).toEqual(Array.from({ length: 200 }, (_, n) => n))
  })

  test('may carry any time or none', async () => {
    const topic = cluster.name('foreign')
    const largest = '9223372036854775807'
    const log = await RawLog.make(cluster.brokers, topic, { 'message.timestamp.after.max.ms': largest })
    // Kafka's own word for none; years that no database has; what Go makes of no time; nanoseconds for milliseconds, and beyond.
    const times = [-1, 0, -1e15, -6_795_364_578_871, 1.8e18, 9e18, 9.1e15]
    const nobody = { producerId: -1n, producerEpoch: -1, baseSequence: -1, transactional: false, compression: 'none' } as const
    for (const [n, timestamp] of times.entries()) {
      const record = (value: string) => ({ key: Buffer.from(`k${n}`), value: Buffer.from(value), headers: [] })
      const batch = encodeBatch([record(json({ n })), record('dead'), record('queued')], { ...nobody, timestamp })
      expect(await log.produce(batch)).toBe(0)
    }
    const Placed = event('order.placed', { aggregate: 'order', key: () => '', schema: z.object({ n: z.int() }), topic, untyped: true })
    await settle(handled(Placed), Placed)
    expect((await seen()).map(({ n }) => n)).toEqual([...times.keys()])
    expect(await letters()).toHaveLength(times.length)
    expect(await rows('select from tidemark.parked_msg where not dead')).toHaveLength(times.length)
  })
})
