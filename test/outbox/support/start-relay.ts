import type { KafkaBrokerOptions } from '../../../src/drivers/kafka/index.ts'
import type { OutboxRetention } from '../../../src/drivers/port.ts'
import { type ChildProgram, startProgram } from '../../support/child-program.ts'

export interface RelayProcessSettings {
  readonly url: string
  readonly fences: boolean
  /** Sends to Kafka. @default to the table that records the wire */
  readonly kafka?: KafkaBrokerOptions
  readonly stream?: number
  readonly streams?: number
  readonly pageSize?: number
  readonly leaseMs?: number
  readonly published?: 'keep' | 'delete'
  /** Partitions are kept only when given. */
  readonly retention?: Partial<OutboxRetention>
}

/** Starts a relay in a process of its own. It says `taken-over`, `standing-by` and `fenced`, each on a line, and stops in order on SIGTERM. */
export function startRelay(settings: RelayProcessSettings, env: NodeJS.ProcessEnv = {}): ChildProgram {
  return startProgram(new URL('relay-process.ts', import.meta.url), [JSON.stringify(settings)], { env })
}
