import { Admin, Consumer, stringDeserializers } from '@platformatic/kafka'
import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { type KafkaBroker, kafka } from '../../src/drivers/kafka/index.ts'
import { memory } from '../../src/drivers/memory/index.ts'
import { type SequencedRecord, event } from '../../src/message/index.ts'
import { type Service, type ServiceOptions, service } from '../../src/service/index.ts'
import { type TestKafka, kafkaAvailable, testKafka } from '../support/kafka.ts'
import { until } from '../support/until.ts'

describe.skipIf(kafkaAvailable.missing)(`A team that moves from its hand-written loop${kafkaAvailable.note}`, () => {
  let cluster: TestKafka
  let broker: KafkaBroker
  const endings: (() => Promise<unknown>)[] = []
  beforeAll(async () => {
    cluster = await testKafka()
  })
  afterEach(async () => {
    await Promise.allSettled(endings.splice(0).map((end) => end()))
    await broker.close()
  })

  /** A topic of two partitions with five messages in each, none of them with an envelope. */
  async function prepared() {
    broker = kafka({ brokers: cluster.brokers })
    const topic = cluster.name('orders')
    await broker.topics([{ name: topic, partitions: 2 }])
    const Placed = event('Placed', { aggregate: 'order', key: () => 'k', schema: z.object({ n: z.string() }), topic, untyped: true })
    await send(topic, [0, 1], 0, 5)
    return { topic, Placed }
  }

  async function send(topic: string, partitions: readonly number[], from: number, to: number): Promise<void> {
    const appender = await broker.appender({ sourceEpoch: `${cluster.name('s')}.1`, generation: 1, stream: 0, epoch: 1, topics: [topic] })
    const records = partitions.flatMap((partition) =>
      Array.from({ length: to - from }, (_, i): SequencedRecord => {
        const value = Buffer.from(JSON.stringify({ n: `${partition}.${from + i}` }))
        return { topic, partition, key: Buffer.from(`k${partition}`), value, headers: [], coordinate: null }
      }),
    )
    await appender.append(records)
    await appender.close()
  }

  /** Reads one partition's first messages and commits, as such loops do. */
  async function loop(groupId: string, topic: string, partition: number, count: number): Promise<void> {
    const consumer = new Consumer({ clientId: 'loop', groupId, bootstrapBrokers: [...cluster.brokers], deserializers: stringDeserializers })
    const stream = await consumer.consume({ topics: [topic], mode: 'earliest', autocommit: false })
    let seen = 0
    for await (const message of stream) {
      if (message.partition !== partition) continue
      seen += 1
      if (seen < count) continue
      await message.commit()
      break
    }
    await stream.close()
    // Typed as nothing where no callback is given; it is a promise all the same.
    await Promise.resolve(consumer.close(true))
  }

  function counting(
    definition: ReturnType<typeof event>,
    startFrom: { committed: string } | 'committed',
    options: Partial<ServiceOptions> = {},
  ) {
    const seen: string[] = []
    const billing: Service = service('billing', { database: memory(), broker, relay: false, ...options })
    billing.consume(definition, { startFrom }, ({ data }) => void seen.push((data as { n: string }).n))
    endings.push(() => billing.stop())
    return { billing, seen }
  }

  test('goes on where the loop has committed, and begins at the beginning where it has committed nothing', async () => {
    const { topic, Placed } = await prepared()
    const group = cluster.name('loop')
    await loop(group, topic, 0, 3)
    expect(await broker.committed(group, topic)).toEqual([3, null])
    const { billing, seen } = counting(Placed, 'committed', { group })
    await billing.start()
    await until('what the loop left is handled', () => seen.length === 7)
    expect(seen.toSorted()).toEqual(['0.3', '0.4', '1.0', '1.1', '1.2', '1.3', '1.4'])
  })

  test('is told of a slip in the name', async () => {
    const { Placed } = await prepared()
    const { billing, seen } = counting(Placed, { committed: cluster.name('lop') })
    await billing.start()
    await expect(billing.done).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining('has committed nothing') })
    expect(seen).toEqual([])
  })

  test('is stopped when somebody gives the topic more partitions', async () => {
    const { topic, Placed } = await prepared()
    const group = cluster.name('loop')
    await loop(group, topic, 0, 3)
    const { billing, seen } = counting(Placed, { committed: group }, { group: cluster.name('billing') })
    await billing.start()
    await until('what the loop left is handled', () => seen.length === 7)
    const stopped = expect(billing.done).rejects.toMatchObject({
      code: 'TOPIC_MISMATCH',
      message: expect.stringMatching(/has 4 partitions now, and group .* has positions in 2/),
    })
    const admin = new Admin({ clientId: 'operator', bootstrapBrokers: [...cluster.brokers] })
    endings.push(() => admin.close())
    await admin.createPartitions({ topics: [{ name: topic, count: 4, assignments: null }] })
    await stopped
    await send(topic, [2, 3], 0, 2)
    expect(seen.length).toBe(7)
  })
})
