import { type ChildProgram, startProgram } from '../../support/child-program.ts'

export interface ConsumerProcessSettings {
  /** The service's database, and the broker's. */
  readonly url: string
  readonly log: string
  readonly lanes?: number
  readonly standstillMs?: number
  readonly sessionTimeoutMs?: number
  readonly retryLeaseMs?: number
  /** Its handler inserts into `once`, says `inserted`, and waits for `go on`. */
  readonly waits?: boolean
  /** Its handler ends the process at the second message of the key `bad`. */
  readonly isDeadly?: boolean
}

/**
 * Starts a consumer in a process of its own. It says `taken`, `fenced`, `released` and `abandoned` as its partitions come and go, and can be
 * told `stop`, `go on`, `lanes 5` and `status`.
 */
export function startConsumer(settings: ConsumerProcessSettings, env: NodeJS.ProcessEnv = {}): ChildProgram {
  return startProgram(new URL('consumer-process.ts', import.meta.url), [JSON.stringify(settings)], { env })
}
