import { type ErrorCode, TidemarkError } from '../../../errors.ts'
import { protocolErrorsCodesById } from '../client.ts'

/** The name of an error code in Kafka's protocol; a code of a newer broker as `ERROR_<n>`. */
export function errorName(code: number): string {
  const names: Readonly<Record<number, string>> = protocolErrorsCodesById
  return names[code] ?? `ERROR_${code}`
}

/** Passes by itself: an election, a coordinator that moves or loads, a broker that stops. */
const passing: ReadonlySet<string> = new Set([
  'CONCURRENT_TRANSACTIONS',
  'COORDINATOR_LOAD_IN_PROGRESS',
  'COORDINATOR_NOT_AVAILABLE',
  'CORRUPT_MESSAGE',
  'BROKER_NOT_AVAILABLE',
  'FENCED_LEADER_EPOCH',
  'FETCH_SESSION_ID_NOT_FOUND',
  'INVALID_FETCH_SESSION_EPOCH',
  'KAFKA_STORAGE_ERROR',
  'LEADER_NOT_AVAILABLE',
  'LISTENER_NOT_FOUND',
  'NETWORK_EXCEPTION',
  'NOT_CONTROLLER',
  'NOT_COORDINATOR',
  'NOT_ENOUGH_REPLICAS',
  'NOT_ENOUGH_REPLICAS_AFTER_APPEND',
  'NOT_LEADER_OR_FOLLOWER',
  'OFFSET_NOT_AVAILABLE',
  'PREFERRED_LEADER_NOT_AVAILABLE',
  'REBALANCE_IN_PROGRESS',
  'REPLICA_NOT_AVAILABLE',
  'REQUEST_TIMED_OUT',
  'THROTTLING_QUOTA_EXCEEDED',
  'UNKNOWN_LEADER_EPOCH',
  'UNSTABLE_OFFSET_COMMIT',
])

const fencing: ReadonlySet<string> = new Set(['INVALID_PRODUCER_EPOCH', 'PRODUCER_FENCED', 'TRANSACTION_COORDINATOR_FENCED'])
const unknownTopic: ReadonlySet<string> = new Set(['UNKNOWN_TOPIC_OR_PARTITION', 'UNKNOWN_TOPIC_ID', 'INCONSISTENT_TOPIC_ID'])
const tooLarge: ReadonlySet<string> = new Set(['MESSAGE_TOO_LARGE', 'RECORD_LIST_TOO_LARGE', 'INVALID_RECORD'])

/** An error code of a reply as a `TidemarkError`. `doing` completes "Kafka refused ": what was asked for, and of what. */
export function protocolError(code: number, doing: string, said: string | null = null): TidemarkError {
  const name = errorName(code)
  const because = said === null || said === '' ? '' : ` ${said}`
  const { code: kind, remedy } = meaning(name)
  return new TidemarkError(kind, `Kafka refused ${doing}: ${name}.${because}`, {
    details: { kafka: name },
    ...(remedy === undefined ? {} : { remedy }),
  })
}

function meaning(name: string): { readonly code: ErrorCode; readonly remedy?: string } {
  if (passing.has(name)) return { code: 'BROKER_UNREACHABLE' }
  if (fencing.has(name)) return { code: 'BROKER_FENCED' }
  if (unknownTopic.has(name)) return { code: 'TOPIC_UNKNOWN' }
  if (tooLarge.has(name)) return { code: 'BROKER_RECORD_REFUSED' }
  if (name.endsWith('_AUTHORIZATION_FAILED')) {
    return { code: 'BROKER_AUTHORIZATION', remedy: 'Grant the principal of this service what it lacks (kafka-acls).' }
  }
  return { code: 'BROKER_FAILED' }
}
