import type { DatabaseDriver } from '../drivers/port.ts'
import { TidemarkError } from '../errors.ts'
import type { Broker } from '../message/port.ts'

/** Settings of a service. All of them have a default; `service('shop')` alone runs on an embedded Postgres. */
export interface ServiceOptions {
  /** Where the service keeps its state. @default an embedded Postgres server, one database per service */
  readonly database?: DatabaseDriver
  /** Where messages travel. @default a log in the embedded Postgres server, shared by all services of the directory */
  readonly broker?: Broker
  /** Name of the consumer group. @default the service's name */
  readonly group?: string
  /** `source` of the messages it publishes. @default the service's name */
  readonly source?: string
  /** Relay this service's outbox from this process. Exactly one process relays at a time, however many could. @default true */
  readonly relay?: boolean
  /** Lanes per partition: how many keys of one partition are handled side by side. The number stored with a partition wins. @default 4 */
  readonly lanes?: number
  /** Most handler transactions at a time in this process. @default 4 */
  readonly maxTransactions?: number
  /** Partitions of topics that do not exist yet. @default the broker's */
  readonly partitions?: number
  /** How long `stop` waits for handlers before it abandons them. @default 5,000 ms */
  readonly drainMs?: number
}

const optionNames: ReadonlySet<string> = new Set<keyof ServiceOptions>([
  'database',
  'broker',
  'group',
  'source',
  'relay',
  'lanes',
  'maxTransactions',
  'partitions',
  'drainMs',
])

/** Fails with `CONFIG_INVALID` for a name no database or group can have, an unknown option, or a number out of range. */
export function checkService(name: string, options: ServiceOptions): void {
  if (!/^[a-z][a-z0-9_-]{0,47}$/.test(name)) {
    throw invalid(`a service's name is 1 to 48 lower-case letters, digits, "-" and "_", a letter first; got ${JSON.stringify(name)}`)
  }
  const unknown = Object.keys(options).find((option) => !optionNames.has(option))
  if (unknown !== undefined) throw invalid(`service("${name}") has no option "${unknown}"; it has ${[...optionNames].join(', ')}`)
  for (const option of ['lanes', 'maxTransactions', 'partitions'] as const) {
    const value = options[option]
    if (value !== undefined && (!Number.isInteger(value) || value < 1 || value > 1024)) {
      throw invalid(`service("${name}"): ${option} is a whole number from 1 to 1,024; got ${value}`)
    }
  }
}

function invalid(what: string): TidemarkError {
  return new TidemarkError('CONFIG_INVALID', `${what}.`)
}
