import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { main } from '../../src/cli/main.ts'
import { kafka } from '../../src/drivers/kafka/index.ts'
import { topicOf } from '../../src/message/topic.ts'
import { type TestKafka, groupProtocols, kafkaAvailable, testKafka } from '../support/kafka.ts'
import { until } from '../support/until.ts'
import { databaseCopies } from './support/database-copies.ts'
import { type Worker, makeWorker } from './support/make-worker.ts'
import { publishOnce } from './support/publish-changes.ts'
import type { WorkerSettings } from './support/start-worker.ts'
import { type OnWire, readWire } from './support/wire.ts'

/** A backup of the service's database is put in its place, and Kafka has gone on meanwhile. */
describe.skipIf(kafkaAvailable.missing)(`a restored database${kafkaAvailable.note}`, async () => {
  const { make, copy, restoreInPlace, on } = await databaseCopies('kafka_restored')
  let cluster: TestKafka
  beforeAll(async () => {
    cluster = await testKafka()
  })
  const workers: Worker[] = []
  afterEach(() => Promise.all(workers.splice(0).map((worker) => worker.stop())))

  const worker = (settings: Omit<WorkerSettings, 'kafka'> & Partial<Pick<WorkerSettings, 'kafka'>>): Worker => {
    const made = makeWorker({ kafka: { brokers: cluster.brokers }, partitions: 2, ...settings })
    workers.push(made)
    return made
  }
  const wireOf = (aggregate: string): Promise<OnWire[]> => readWire({ brokers: cluster.brokers }, topicOf(aggregate, {}))
  const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i)

  describe.each([
    ['without a fence', {}],
    ['with streams fenced', { fenceStreams: true }],
  ])('of a producer (%s)', (_, options) => {
    const settings = (url: string, aggregate: string) => ({ url, aggregate, kafka: { brokers: cluster.brokers, ...options } })

    async function publish(url: string, aggregate: string, count: number): Promise<void> {
      const publisher = worker(settings(url, aggregate))
      for (let i = 0; i < count; i++) {
        const wanted = ['a', 'b'].map((key) => ({ key, count: 1 }))
        await publishOnce(publisher.service, aggregate, wanted)
      }
      await publisher.stop()
    }

    async function relayAll(url: string, aggregate: string): Promise<void> {
      const relay = worker({ ...settings(url, aggregate), relay: true, outbox: { pageSize: 3 } })
      await relay.service.start()
      await until('everything is sent', async () => (await relay.service.status()).outbox.pending === 0)
      await relay.stop()
    }

    /** As the operator of a service on Kafka does it. */
    async function rebaseBy(...argv: readonly string[]): Promise<unknown> {
      let [stdout, stderr] = ['', '']
      const io = {
        stdout: { write: (text: string) => (stdout += text) },
        stderr: { write: (text: string) => (stderr += text) },
        env: {},
        user: 'tester',
      }
      expect([await main(['outbox', 'rebase', ...argv, '--json'], io), stderr]).toEqual([0, ''])
      return JSON.parse(stdout)
    }

    test('sends nothing, says so, and goes on after a rebase without loss or repeat', async () => {
      const aggregate = cluster.name('restored')
      const original = await make()
      await publish(original, aggregate, 5)
      await relayAll(original, aggregate)
      // Committed, and not sent when the backup is made.
      await publish(original, aggregate, 3)
      const backup = await copy(original)
      await publish(original, aggregate, 2)
      await relayAll(original, aggregate)
      const before = await wireOf(aggregate)
      expect(before).toHaveLength(20)

      await restoreInPlace(backup)
      const relay = worker({ ...settings(backup, aggregate), relay: true })
      await relay.service.start()
      await expect(relay.service.done).rejects.toMatchObject({
        code: 'RELAY_RESTORED_DATABASE',
        message: expect.stringMatching(/restored or copied.*Nothing was sent.*rebase/),
      })
      expect(relay.service.live()).toBe(false)
      expect((await relay.service.status()).outbox).toMatchObject({ pending: 6, relays: [{ phase: 'stopped', published: 0 }] })
      await relay.stop()
      expect(await wireOf(aggregate)).toEqual(before)

      expect(await rebaseBy('--url', backup, '--broker', `kafka://${cluster.brokers.join(',')}`, '--dry-run')).toMatchObject({
        onTheWire: 10,
      })
      const file = join(await mkdtemp(join(tmpdir(), 'tidemark-options-')), 'kafka.json')
      await writeFile(file, JSON.stringify({ brokers: cluster.brokers }))
      expect(await rebaseBy('--url', backup, '--kafka-options', file, '--yes')).toMatchObject({ onTheWire: 10 })
      await rm(dirname(file), { recursive: true })
      // Other messages than those that the original sent under these numbers.
      await publish(backup, aggregate, 2)
      await relayAll(backup, aggregate)
      const after = await wireOf(aggregate)
      expect(after).toHaveLength(24)
      expect(new Set(after.map(({ coordinate }) => coordinate)).size).toBe(24)
      for (const key of ['a', 'b']) {
        const versions = after.filter((one) => one.key === key).map(({ n }) => n)
        expect(versions).toEqual([...range(1, 10), 9, 10])
      }

      // The original, should it still be somewhere, sends nothing any more.
      await publish(original, aggregate, 1)
      const old = worker({ ...settings(original, aggregate), relay: true })
      await old.service.start()
      await expect(old.service.done).rejects.toMatchObject({ code: 'RELAY_RESTORED_DATABASE' })
      expect(await wireOf(aggregate)).toHaveLength(24)
    })
  })

  test.each(groupProtocols)(
    'of a consumer goes on from its own position, whatever Kafka has noted: effects once in that database (group protocol %s)',
    async (groupProtocol) => {
      const [aggregate, group] = [cluster.name('restored'), cluster.name('group')]
      const options = { brokers: cluster.brokers, groupProtocol }
      const [producing, consuming] = [await make(), await make()]
      const producer = worker({ url: producing, aggregate, relay: true })
      await producer.service.start()
      const publish = (count: number): Promise<number> =>
        publishOnce(
          producer.service,
          aggregate,
          ['a', 'b', 'c'].map((key) => ({ key, count })),
        )
      const effectsIn = (url: string): Promise<{ key: string; n: number }[]> =>
        on(url, (database) => database.query<{ key: string; n: number }>('select key, n from effect order by place'))
      const inOrder = (effects: readonly { readonly key: string; readonly n: number }[]): number[][] =>
        ['a', 'b', 'c'].map((key) => effects.filter((one) => one.key === key).map(({ n }) => n))
      const broker = kafka(options)
      const noted = async (): Promise<number> =>
        (await broker.committed(group, topicOf(aggregate, {}))).reduce<number>((sum, offset) => sum + (offset ?? 0), 0)

      /** Handles all there is, tells Kafka, and ends. */
      async function handleAll(url: string, due: number): Promise<void> {
        const consumer = worker({ url, aggregate, groups: [group], kafka: options })
        await consumer.service.start()
        await until('all is handled', async () => (await effectsIn(url)).length >= due)
        await until('Kafka is told', async () => (await noted()) === due)
        await consumer.stop()
      }

      try {
        await publish(10)
        await handleAll(consuming, 30)
        const backup = await copy(consuming)
        await publish(15)
        await handleAll(consuming, 75)
        expect(await noted()).toBe(75)

        expect(await effectsIn(backup)).toHaveLength(30)
        await publish(5)
        await handleAll(backup, 90)
        expect(inOrder(await effectsIn(backup))).toEqual([range(1, 30), range(1, 30), range(1, 30)])
        expect(inOrder(await effectsIn(consuming))).toEqual([range(1, 25), range(1, 25), range(1, 25)])
      } finally {
        await broker.close()
      }
    },
  )
})
