import type { KafkaBrokerOptions } from '../../../src/drivers/kafka/index.ts'
import type { ServiceOptions } from '../../../src/service/index.ts'
import { type ChildProgram, startProgram } from '../../support/child-program.ts'
import type { PublishSettings } from './publish-changes.ts'

export interface WorkerSettings {
  /** The service's database. */
  readonly url: string
  readonly kafka: KafkaBrokerOptions
  readonly aggregate: string
  /** Handles the topic as these groups. @default none */
  readonly groups?: readonly string[]
  /** Publishes changes of so many keys until it is told `quiet`. @default nothing */
  readonly publishes?: PublishSettings
  /** Relays the outbox. @default false */
  readonly relay?: boolean
  readonly outbox?: ServiceOptions['outbox']
  readonly consumer?: ServiceOptions['consumer']
  readonly partitions?: number
  /** A handler of this change says `handling` and waits for the line `go on`. */
  readonly waitsAt?: { readonly key: string; readonly n: number }
}

/**
 * Starts a process of the service. It says `started`; `taken`, `fenced`, `released` and `abandoned` as its partitions come and go; its troubles
 * on stderr. Told `quiet` it ends publishing and says `published <number>`; told `stop`, or by SIGTERM, it stops in order.
 */
export function startWorker(settings: WorkerSettings, env: NodeJS.ProcessEnv = {}): ChildProgram {
  return startProgram(new URL('worker-process.ts', import.meta.url), [JSON.stringify(settings)], { env })
}

/** Ends publishing; resolves with how many messages were committed. */
export async function quiet(producer: ChildProgram): Promise<number> {
  producer.tell('quiet')
  await producer.untilSaid(/^published \d+$/m)
  return Number(/^published (\d+)$/m.exec(producer.lines.join('\n'))![1])
}

/** Stops in order all of these that still run. Throws with what they said if one ended otherwise, now or before. */
export async function stopAll(programs: readonly ChildProgram[]): Promise<void> {
  for (const program of programs) program.tell('stop')
  for (const { ended } of programs) {
    const { code, signal, stderr } = await ended
    if (code !== 0) throw new Error(`A worker ended by ${code ?? signal}:\n${stderr}`)
  }
}
