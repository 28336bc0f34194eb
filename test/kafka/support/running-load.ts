import { expect } from 'vitest'
import type { KafkaBrokerOptions } from '../../../src/drivers/kafka/index.ts'
import { TidemarkError } from '../../../src/errors.ts'
import { uniqueName } from '../../support/kafka.ts'
import { until } from '../../support/until.ts'
import { type LoadDatabase, exactly } from './load.ts'
import { type Worker, makeWorker } from './make-worker.ts'
import { type WorkerSettings, quiet, startWorker, stopAll } from './start-worker.ts'
import { cleanWire, readWire, wireOutcome } from './wire.ts'

/** A producer that relays in a process of its own, and two members of a group, all of them at work. */
export interface RunningLoad {
  readonly topic: string
  readonly group: string
  /** Waits until effects have come from now on. */
  untilMore(): Promise<void>
  /** Ends publishing, and expects that every change was sent once and handled once, in order. */
  expectAll(): Promise<void>
  /** Ends whatever still runs in this process. */
  end(): Promise<void>
}

export async function runLoad(
  { url, database, untilHandled }: LoadDatabase,
  seed: number,
  kafka: KafkaBrokerOptions,
  settings: Partial<WorkerSettings> = {},
): Promise<RunningLoad> {
  const aggregate = uniqueName('load')
  const topic = `outbox.event.${aggregate}`
  const group = uniqueName('group')
  const common = { url, kafka, aggregate, ...settings }
  const producer = startWorker({ ...common, relay: true, publishes: { keys: 50, seed, writers: 4, pauseMs: 20 } })
  await producer.untilSaid(/^started$/m)
  const members: readonly Worker[] = [1, 2].map(() => makeWorker({ ...common, groups: [group] }))
  // Where requests have little time, a busy machine may let one of a start run out of it.
  const started = ({ service }: Worker): Promise<boolean> =>
    service.start().then(
      () => true,
      (error: unknown) => {
        if (TidemarkError.is(error) && error.retryable) return false
        throw error
      },
    )
  await Promise.all(members.map((member) => until('a member has started', () => started(member), 60_000)))
  const effects = async (): Promise<number> =>
    (await database.query<{ n: number }>('select count(*)::int as n from effect where aggregate = $1', [aggregate]))[0]!.n
  const untilMore = async (): Promise<void> => {
    const before = await effects()
    await until('more messages are handled', async () => (await effects()) >= before + 100, 60_000).catch(async (error: unknown) => {
      await tell()
      throw error
    })
  }
  /** What a failure is understood by. */
  const tell = async (): Promise<void> => {
    for (const { service } of members) console.log(JSON.stringify((await service.status()).groups))
    console.log(JSON.stringify(wireOutcome(await readWire(kafka, topic))), producer.stderr)
  }
  await untilMore()
  return {
    topic,
    group,
    untilMore,
    async expectAll() {
      const published = await quiet(producer)
      const [outcome] = await untilHandled(aggregate, [group])
      console.log(`seed ${seed}:`, JSON.stringify(outcome))
      if (outcome!.lost > 0) await tell()
      expect(outcome).toEqual(exactly(published))
      expect(wireOutcome(await readWire(kafka, topic))).toEqual(cleanWire(published))
      await stopAll([producer])
    },
    async end() {
      await Promise.all(members.map((one) => one.stop()))
    },
  }
}
