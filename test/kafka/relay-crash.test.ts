import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { crashPoints } from '../../src/internal/crash-points.ts'
import type { KafkaBrokerOptions } from '../../src/drivers/kafka/index.ts'
import { startRelay } from '../outbox/support/start-relay.ts'
import { type TestKafka, kafkaAvailable, testKafka } from '../support/kafka.ts'
import { until } from '../support/until.ts'
import { changed, loadDatabase } from './support/load.ts'
import { type Worker, makeWorker } from './support/make-worker.ts'
import { publishOnce } from './support/publish-changes.ts'
import { cleanWire, readWire, wireOutcome } from './support/wire.ts'

const keys = ['a', 'b', 'c', 'd', 'e']
/** Simple mode alone takes two round trips for a tick. */
const points = crashPoints.filter((name) => name.startsWith('relay:') && name !== 'relay:mid-tick')
const parking = ['relay:mid-park', 'relay:after-park', 'relay:mid-checkpoint']
/** What was sent may be on the wire, or not: these are tried with the fence, too. */
const sending = ['relay:mid-send', 'relay:after-send', 'relay:mid-checkpoint']

describe.skipIf(kafkaAvailable.missing)(`a relay to Kafka${kafkaAvailable.note}`, async () => {
  const { url, database } = await loadDatabase('kafka_relay')
  let kafka: TestKafka
  let publisher: Worker
  let aggregate: string
  const relays: Worker[] = []
  beforeAll(async () => {
    kafka = await testKafka()
    aggregate = kafka.name('relay')
    publisher = makeWorker({ url, kafka: { brokers: kafka.brokers }, aggregate })
  })
  afterEach(() => Promise.all(relays.splice(0).map((relay) => relay.stop())))
  afterAll(() => publisher?.stop())

  const options = (fenceStreams: boolean): KafkaBrokerOptions => ({ brokers: kafka.brokers, fenceStreams, maxRecordBytes: 5_000 })

  /** Twelve transactions, each of the next change of every key. */
  async function publishSome(): Promise<void> {
    for (let i = 0; i < 12; i++) {
      await publishOnce(
        publisher.service,
        aggregate,
        keys.map((key) => ({ key, count: 1 })),
      )
    }
  }

  /** Too large, so that its key, which nobody else uses, is parked. */
  function publishLarge(key: string): Promise<void> {
    const large = { key, n: 1, pad: 'x'.repeat(10_000) }
    return publisher.service.transaction((tx) => publisher.service.publish(tx, changed(aggregate), large))
  }

  /** Starts another relay, and waits until all is sent that can be. Returns how many changes there are. */
  async function finish(fenceStreams: boolean): Promise<number> {
    const relay = makeWorker({ url, kafka: options(fenceStreams), aggregate, relay: true, outbox: { leaseMs: 400, pageSize: 20 } })
    relays.push(relay)
    await relay.service.start()
    await until('everything is sent', async () => (await relay.service.status()).outbox.pending === 0)
    const [due] = await database.query<{ n: number }>('select sum(n)::int as n from latest where aggregate = $1', [aggregate])
    return due!.n
  }

  const wire = () => readWire({ brokers: kafka.brokers }, `outbox.event.${aggregate}`)

  describe.each([
    ...points.map((name) => ({ name, fenceStreams: false, fence: 'without a fence' })),
    ...sending.map((name) => ({ name, fenceStreams: true, fence: 'with its stream fenced' })),
  ])('killed at $name, $fence,', ({ name, fenceStreams }) => {
    test('is followed by one that loses nothing, repeats nothing on the wire, and keeps the order', async () => {
      await publishSome()
      if (parking.includes(name)) await publishLarge(name)
      const killed = startRelay({ url, fences: false, kafka: options(fenceStreams) }, { TIDEMARK_CRASH_POINT: name })
      expect((await killed.ended).signal, killed.stderr).toBe('SIGKILL')
      await publishSome()
      const due = await finish(fenceStreams)
      expect(wireOutcome(await wire())).toEqual(cleanWire(due))
    })
  })
})
