import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { PostgresOutboxOperations } from '../../src/drivers/postgres/postgres-outbox-operations.ts'
import { topicOf } from '../../src/message/topic.ts'
import { admin } from '../servers/kafka-clients.ts'
import { type TestKafka, kafkaAvailable, testKafka } from '../support/kafka.ts'
import { until } from '../support/until.ts'
import { changed, exactly, loadDatabase } from './support/load.ts'
import { type Worker, makeWorker } from './support/make-worker.ts'
import { publishOnce } from './support/publish-changes.ts'
import type { WorkerSettings } from './support/start-worker.ts'
import { cleanWire, readWire, wireOutcome } from './support/wire.ts'

/** `createTopics: false`: somebody else makes the topics. */
describe.skipIf(kafkaAvailable.missing)(`a service that may not make topics${kafkaAvailable.note}`, async () => {
  const { url, database, untilHandled } = await loadDatabase('kafka_refusals')
  const operations = new PostgresOutboxOperations({ database })
  let kafka: TestKafka
  beforeAll(async () => {
    kafka = await testKafka()
  })
  const workers: Worker[] = []
  afterEach(() => Promise.all(workers.splice(0).map((worker) => worker.stop())))

  function worker(settings: Partial<WorkerSettings> & { readonly aggregate: string }): Worker {
    const made = makeWorker({ url, kafka: { brokers: kafka.brokers, createTopics: false }, ...settings })
    workers.push(made)
    return made
  }

  const makeTopic = async (aggregate: string): Promise<void> => {
    await admin(kafka.brokers).createTopics({ topics: [topicOf(aggregate, {})], partitions: 2 })
  }

  test('does not start where it would read one that is missing: the error names it and the remedy, and nothing was changed', async () => {
    const aggregate = kafka.name('missing')
    const topic = changed(aggregate).topic
    const group = kafka.name('group')
    const consumer = worker({ aggregate, groups: [group], relay: true })
    await publishOnce(consumer.service, aggregate, [{ key: 'a', count: 3 }])
    const error = await consumer.service.start().catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({
      code: 'TOPIC_UNKNOWN',
      details: { topics: [topic] },
      message: expect.stringMatching(new RegExp(`${topic}.*createTopics: false.*kafka-topics --create`)),
    })
    expect(await consumer.service.status()).toMatchObject({ groups: [{ lags: null }], lagError: { code: 'TOPIC_UNKNOWN' } })
    expect(await admin(kafka.brokers).listTopics()).not.toContain(topic)
    expect([...(await admin(kafka.brokers).listGroups()).keys()]).not.toContain(group)
    expect(await database.query('select from tidemark.consumer_position where group_name = $1', [group])).toEqual([])
    expect(await operations.parked()).toEqual([])

    // The same service, once somebody has made the topic.
    await makeTopic(aggregate)
    await consumer.service.start()
    expect(await untilHandled(aggregate, [group])).toEqual([exactly(3)])
  })

  test('keeps in its outbox what is for one that is missing, and sends all of it once the topic is made and the keys are released', async () => {
    const [missing, there] = [kafka.name('missing'), kafka.name('there')]
    await makeTopic(there)
    const relay = worker({ aggregate: missing, relay: true })
    await relay.service.start()
    const publish = (aggregate: string, keys: readonly string[], count: number): Promise<number> =>
      publishOnce(
        relay.service,
        aggregate,
        keys.map((key) => ({ key, count })),
      )
    await publish(missing, ['a', 'b'], 2)
    await publish(there, ['a', 'b', 'c'], 2)
    await publish(missing, ['a'], 1)
    await until('the others are sent', async () => (await relay.service.status()).outbox.pending === 0)
    const options = { brokers: kafka.brokers }
    expect(wireOutcome(await readWire(options, topicOf(there, {})))).toEqual(cleanWire(6))
    const parked = await operations.parked()
    expect(parked.map(({ aggregateId, held }) => [aggregateId, held]).sort()).toEqual([
      ['a', 3],
      ['b', 2],
    ])
    const reason = new RegExp(`${topicOf(missing, {})}.*createTopics: false.*kafka-topics --create`)
    for (const key of parked) expect(key).toMatchObject({ aggregateType: missing, reason: expect.stringMatching(reason) })
    expect(await admin(kafka.brokers).listTopics()).not.toContain(topicOf(missing, {}))

    await makeTopic(missing)
    // Keys that were never parked need no release; the relay, which runs all the while, sees that the topic is there.
    await publish(missing, ['c', 'd'], 1)
    await until('new keys are sent', async () => (await operations.parked()).length === 2 && (await sent(missing)) === 2)
    expect(await operations.release(parked)).toHaveLength(2)
    await publish(missing, ['a'], 1)
    await until('nothing is parked', async () => (await operations.parked()).length === 0)
    await until('all is sent', async () => (await sent(missing)) === 8)
    expect(wireOutcome(await readWire(options, topicOf(missing, {})))).toEqual(cleanWire(8))

    const group = kafka.name('group')
    await worker({ aggregate: missing, groups: [group] }).service.start()
    expect(await untilHandled(missing, [group])).toEqual([exactly(8)])
  })

  const sent = async (aggregate: string): Promise<number> => (await readWire({ brokers: kafka.brokers }, topicOf(aggregate, {}))).length
})
