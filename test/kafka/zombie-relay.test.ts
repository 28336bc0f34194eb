import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { KafkaCluster } from '../../servers/kafka.ts'
import type { CrashPoint } from '../../src/internal/crash-points.ts'
import { startRelay } from '../outbox/support/start-relay.ts'
import type { ChildProgram } from '../support/child-program.ts'
import { ownKafkaAvailable, uniqueName } from '../support/kafka.ts'
import { until } from '../support/until.ts'
import { freezeInTurns } from './support/freeze-in-turns.ts'
import { type KafkaProxy, type PassingReply, startProxiedKafka } from './support/kafka-proxy.ts'
import { exactly, loadDatabase } from './support/load.ts'
import { type Worker, makeWorker } from './support/make-worker.ts'
import { pause } from './support/pause.ts'
import { publishChanges, publishOnce } from './support/publish-changes.ts'
import { refusalsIn } from './support/reply-codes.ts'
import { makeTopicOfSmallBatches } from './support/small-batches.ts'
import { cleanWire, readWire, wireOutcome, withoutRepeats } from './support/wire.ts'

const seed = Number(process.env.TIDEMARK_RACE_SEED ?? Date.now() % 100_000)
/** Of the load in which relays are frozen whenever it happens. */
const seconds = Number(process.env.TIDEMARK_RACE_SECONDS ?? 2)
const leaseMs = 400
const partitions = 3
const keys = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']

/** What a relay is at when it freezes, and the first thing that a broker with a fence refuses it on waking; `null`: it asks for nothing any more. */
interface Moment {
  readonly point: CrashPoint
  /** At which time: the first page may be in the log already, by one who was frozen before its checkpoint. */
  readonly time?: number
  readonly refused: string | null
}

const moments: readonly Moment[] = [
  { point: 'relay:mid-send', time: 2, refused: 'enlist PRODUCER_FENCED' },
  { point: 'kafka:after-produce', refused: 'produce INVALID_PRODUCER_EPOCH' },
]
/** With transactions alone. */
const inTransactions: readonly Moment[] = [
  // On waking it sees its successor's note.
  { point: 'kafka:after-fence', refused: null },
  { point: 'kafka:after-enlist', refused: 'produce INVALID_PRODUCER_EPOCH' },
  { point: 'kafka:before-commit', refused: 'end transaction PRODUCER_FENCED' },
]
/** Tried when there is time. */
const further: readonly Moment[] = [
  { point: 'relay:after-take-over', refused: null },
  { point: 'relay:after-send', refused: null },
]
const furtherInTransactions: readonly Moment[] = [
  // On waking it sees its successor's messages.
  { point: 'kafka:after-claim', refused: null },
  { point: 'kafka:after-commit', refused: null },
]
const isLong = process.env.TIDEMARK_RACE_SECONDS !== undefined
const withoutFence = isLong ? [...moments, ...further] : moments
const withFence = isLong ? [...withoutFence, ...inTransactions, ...furtherInTransactions] : [...withoutFence, ...inTransactions]

describe.skipIf(ownKafkaAvailable.missing)(`a relay to Kafka that is frozen for twice its lease${ownKafkaAvailable.note}`, () => {
  let cluster: KafkaCluster
  let proxy: KafkaProxy
  beforeAll(async () => {
    const started = await startProxiedKafka()
    ;({ cluster, proxy } = started)
    return started.stop
  })

  describe.each([
    { fence: 'without a fence', fenceStreams: false, tried: withoutFence },
    { fence: 'with its stream fenced', fenceStreams: true, tried: withFence },
  ])('$fence', async ({ fenceStreams, tried }) => {
    const { url, untilHandled } = await loadDatabase('kafka_frozen_relay')
    const workers: Worker[] = []
    afterEach(() => Promise.all(workers.splice(0).map((worker) => worker.stop())))

    async function start(aggregate: string, role: { readonly relay?: boolean; readonly groups?: readonly string[] }): Promise<Worker> {
      const outbox = { leaseMs, pageSize: 20 }
      const worker = makeWorker({ url, aggregate, kafka: { brokers: cluster.brokers, fenceStreams }, outbox, ...role })
      workers.push(worker)
      await worker.service.start()
      return worker
    }

    const sent = async ({ service }: Worker): Promise<boolean> => (await service.status()).outbox.pending === 0

    test('is superseded, at whatever it was; on waking it repeats at most what readers drop', async () => {
      const aggregate = uniqueName('frozen')
      const topic = `outbox.event.${aggregate}`
      await makeTopicOfSmallBatches(cluster.brokers, topic, partitions)
      const group = uniqueName('group')
      const publisher = await start(aggregate, { groups: [group] })
      const publish = async (times: number): Promise<void> => {
        for (let i = 0; i < times; i++) {
          await publishOnce(
            publisher.service,
            aggregate,
            keys.map((key) => ({ key, count: 3 })),
          )
        }
      }
      await publish(20)
      // One supersedes the other, in whatever order, and each freezes at its own moment.
      const zombies = tried.map(({ point, time = 1 }) =>
        startRelay(
          { url, fences: false, leaseMs, kafka: { brokers: proxy.brokers, fenceStreams, clientId: point } },
          { TIDEMARK_FREEZE_POINT: `${point}:${time}` },
        ),
      )
      await Promise.all(zombies.map((zombie, i) => until(`one stands still ${tried[i]!.point}`, () => zombie.isFrozen())))
      const asleep = pause(2 * leaseMs)
      const successor = await start(aggregate, { relay: true })
      await publish(5)
      await until('everything is sent', () => sent(successor))
      await asleep
      const before = await readWire({ brokers: cluster.brokers }, topic)

      const refusals = watchRefusals(proxy)
      const stoodBy = zombies.map((zombie) => zombie.timesSaid('standing-by'))
      for (const zombie of zombies) zombie.signal('SIGCONT')
      const knowsIt = (zombie: ChildProgram, i: number) =>
        until(`the relay frozen at ${tried[i]!.point} stands by`, () => zombie.timesSaid('standing-by') > stoodBy[i]!)
      await Promise.all(zombies.map(knowsIt))
      await publish(5)
      await until('everything is sent', () => sent(successor))
      const due = 30 * 3 * keys.length
      expect(await untilHandled(aggregate, [group])).toEqual([exactly(due)])
      const after = await readWire({ brokers: cluster.brokers }, topic)
      expect(wireOutcome(withoutRepeats(after))).toEqual(cleanWire(due))
      console.log(JSON.stringify({ fenceStreams, ...wireOutcome(after), refusals: Object.fromEntries(refusals) }))
      if (fenceStreams) {
        expect(wireOutcome(before)).toEqual(cleanWire(25 * 3 * keys.length))
        expect(wireOutcome(after)).toEqual(cleanWire(due))
        const first = tried.map(({ point }) => [point, refusals.get(point)?.[0] ?? null])
        expect(Object.fromEntries(first)).toEqual(Object.fromEntries(tried.map(({ point, refused }) => [point, refused])))
      } else {
        // Frozen before it had sent its page, it sends it on waking, or there would be nothing to drop.
        expect(wireOutcome(after).repeated).toBeGreaterThan(0)
      }
      await end(zombies)
    })

    test('at any moment under load: nothing is lost, doubled or reordered for readers', { timeout: 60_000 + seconds * 3_000 }, async () => {
      const aggregate = uniqueName('frozen')
      const group = uniqueName('group')
      const publisher = await start(aggregate, { groups: [group] })
      const relays = [1, 2].map(() => startRelay({ url, fences: false, leaseMs, kafka: { brokers: cluster.brokers, fenceStreams } }))
      let running = true
      const publishing = publishChanges(publisher.service, aggregate, { keys: 50, seed, writers: 3, pauseMs: 15 }, () => running)
      const freezes = await freezeInTurns(relays, { seed, forMs: seconds * 1_000, betweenMs: 200, frozenMs: 2 * leaseMs })
      running = false
      const due = await publishing
      const [outcome] = await untilHandled(aggregate, [group])
      const wire = wireOutcome(await readWire({ brokers: cluster.brokers }, `outbox.event.${aggregate}`))
      console.log(`seed ${seed}:`, JSON.stringify({ fenceStreams, freezes, outcome, wire }))
      expect(outcome).toEqual(exactly(due))
      if (fenceStreams) expect(wire).toEqual(cleanWire(due))
      await end(relays)
    })
  })
})

/** The first refusal of each client from now on, and those after it. A transaction that must be waited for is none. */
function watchRefusals(proxy: KafkaProxy): ReadonlyMap<string, readonly string[]> {
  const refusals = new Map<string, string[]>()
  proxy.fateOf = (reply: PassingReply) => {
    const found = refusalsIn(reply).filter((name) => name !== 'CONCURRENT_TRANSACTIONS')
    if (found.length > 0) refusals.set(reply.clientId, [...(refusals.get(reply.clientId) ?? []), `${reply.request} ${found[0]!}`])
    return 'pass'
  }
  return refusals
}

async function end(relays: readonly ChildProgram[]): Promise<void> {
  for (const relay of relays) relay.signal('SIGTERM')
  for (const { ended } of relays) {
    const { code, stderr } = await ended
    expect(code, stderr).toBe(0)
  }
}
