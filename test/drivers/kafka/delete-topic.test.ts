import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type KafkaBroker, kafka } from '../../../src/drivers/kafka/index.ts'
import { type TestKafka, kafkaAvailable, testKafka } from '../../support/kafka.ts'

describe.skipIf(kafkaAvailable.missing)(`a topic that is deleted${kafkaAvailable.note}`, () => {
  let cluster: TestKafka
  let broker: KafkaBroker
  beforeAll(async () => {
    cluster = await testKafka()
    broker = kafka({ brokers: cluster.brokers })
  })
  afterAll(() => broker?.close())

  test('is not described any more: made again at once, it is another one, and stays', async () => {
    for (let round = 0; round < 12; round++) {
      const name = cluster.name('deleted')
      const [old] = await broker.topics([{ name, partitions: 8 }])
      await broker.deleteTopic(name)
      const [young] = await broker.topics([{ name, partitions: 2 }])
      expect(young!.id).not.toBe(old!.id)
      expect(await broker.committed('nobody', name)).toEqual([null, null])
    }
  })
})
