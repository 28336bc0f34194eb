import { TidemarkError } from '../errors.ts'
import type { FailureClass } from './failure-class.ts'
import { isTerminal } from './failure-errors.ts'

/** One line of the table: what an error says of itself, and what that means. */
export interface Classification {
  readonly of: 'tidemark' | 'postgres' | 'kafka' | 'http' | 'node'
  /** A code, a status, or the beginning of a code followed by `*`. */
  readonly code: string
  readonly is: FailureClass
  readonly why: string
}

const rows = (of: Classification['of'], is: FailureClass, why: string, codes: string): Classification[] =>
  codes.split(/\s+/).map((code) => ({ of, code, is, why }))

/**
 * What known errors mean. The first line that fits an error, or one of its causes from the outermost in, decides; what no line fits is a `bug`.
 * Sources: Postgres, "PostgreSQL Error Codes" (appendix A); Kafka's protocol guide, column "retriable"; RFC 9110 and RFC 6585 for HTTP; Node's
 * "Common system errors" and undici's error codes.
 */
export const classifications: readonly Classification[] = [
  ...rows(
    'tidemark',
    'incompatible',
    'a newer version of the event, or a type that other processes handle',
    'EVENT_UNKNOWN_VERSION UNHANDLED',
  ),
  ...rows('tidemark', 'poison', 'bytes or data that no try will change', 'MESSAGE_UNDECODABLE EVENT_INVALID PROCESS_CRASHED'),
  ...rows('tidemark', 'fenced', 'another process owns the work now', 'GROUP_FENCED BROKER_FENCED RELAY_FENCED'),
  ...rows(
    'tidemark',
    'transient',
    'something Tidemark needs was away',
    'SCHEMA_UNAVAILABLE DATABASE_UNREACHABLE DATABASE_CONNECTION_LOST BROKER_UNREACHABLE COMMIT_UNKNOWN OUTBOX_EXHAUSTED HANDLER_TIMEOUT',
  ),
  ...rows('postgres', 'transient', 'connection exception', '08*'),
  ...rows('postgres', 'transient', 'deadlock, serialisation failure', '40001 40P01'),
  ...rows('postgres', 'transient', 'insufficient resources', '53*'),
  ...rows('postgres', 'transient', 'object in use, lock not available', '55006 55P03'),
  ...rows('postgres', 'transient', 'the operator intervenes: shutdown, cancel, recovery', '57*'),
  ...rows('postgres', 'transient', 'system error', '58*'),
  ...rows('postgres', 'transient', 'read-only: the server is a standby now', '25006'),
  ...rows('postgres', 'bug', 'any other error of the server may be the message or the code', '0* 1* 2* 3* 4* 54* 55* F* H* P* X*'),
  ...rows(
    'kafka',
    'transient',
    'errors the protocol calls retriable',
    `COORDINATOR_LOAD_IN_PROGRESS COORDINATOR_NOT_AVAILABLE NOT_COORDINATOR CORRUPT_MESSAGE FENCED_LEADER_EPOCH KAFKA_STORAGE_ERROR
LEADER_NOT_AVAILABLE NETWORK_EXCEPTION NOT_CONTROLLER NOT_ENOUGH_REPLICAS NOT_ENOUGH_REPLICAS_AFTER_APPEND NOT_LEADER_OR_FOLLOWER
OFFSET_NOT_AVAILABLE PREFERRED_LEADER_NOT_AVAILABLE REPLICA_NOT_AVAILABLE REQUEST_TIMED_OUT UNKNOWN_LEADER_EPOCH UNKNOWN_TOPIC_OR_PARTITION
THROTTLING_QUOTA_EXCEEDED CONCURRENT_TRANSACTIONS PLT_KFK_NETWORK PLT_KFK_TIMEOUT`,
  ),
  ...rows('kafka', 'poison', 'the record is larger than the broker takes', 'MESSAGE_TOO_LARGE RECORD_LIST_TOO_LARGE'),
  ...rows(
    'kafka',
    'fenced',
    'another producer or member took over',
    'PRODUCER_FENCED INVALID_PRODUCER_EPOCH FENCED_INSTANCE_ID ILLEGAL_GENERATION',
  ),
  ...rows('http', 'transient', 'time-out, too early, too many, or away', '408 425 429 502 503 504'),
  ...rows('http', 'poison', 'the request itself is refused', '400 405 410 411 413 414 415 422 431 451'),
  ...rows('http', 'bug', 'any other refusal may be of passing nature', '4* 5*'),
  ...rows(
    'node',
    'transient',
    'the network, or the other side, is away',
    `ECONNREFUSED ECONNRESET ECONNABORTED ENOTCONN EPIPE ETIMEDOUT ESOCKETTIMEDOUT EHOSTUNREACH EHOSTDOWN ENETUNREACH ENETDOWN ENETRESET
EAI_AGAIN ENOTFOUND UND_ERR_CONNECT_TIMEOUT UND_ERR_HEADERS_TIMEOUT UND_ERR_BODY_TIMEOUT UND_ERR_SOCKET UND_ERR_CLOSED UND_ERR_DESTROYED
TimeoutError`,
  ),
  ...rows('node', 'transient', 'the machine is short of something', 'EMFILE ENFILE ENOMEM ENOSPC EAGAIN EBUSY EADDRNOTAVAIL'),
]

const exact = new Map(classifications.filter(({ code }) => !code.endsWith('*')).map((row) => [nameOf(row.of, row.code), row]))
const prefixes = classifications.filter(({ code }) => code.endsWith('*'))

/** An error may have causes without end, or itself. */
const deepest = 8

/** What a failure means. Total: whatever was thrown, it says something and throws nothing. */
export function classify(error: unknown): FailureClass {
  try {
    if (isTerminal(error)) return 'poison'
    return find(error, deepest)?.is ?? 'bug'
  } catch {
    // A getter or a proxy of whoever threw it.
    return 'bug'
  }
}

function find(error: unknown, depth: number): Classification | null {
  if (typeof error !== 'object' || error === null || depth === 0) return null
  if (isTerminal(error)) return terminal
  const own = known(error)
  if (own !== null) return own
  const { cause, errors } = error as { readonly cause?: unknown; readonly errors?: unknown }
  // Of several tries to connect, one for each address, any tells enough.
  return find(cause, depth - 1) ?? (Array.isArray(errors) ? find(errors[0], depth - 1) : null)
}

const terminal: Classification = { of: 'tidemark', code: 'TerminalError', is: 'poison', why: 'the handler says so' }

function known(error: object): Classification | null {
  if (TidemarkError.is(error)) return exact.get(nameOf('tidemark', error.code)) ?? null
  for (const [of, code] of sayings(error)) {
    const found = exact.get(nameOf(of, code)) ?? prefixes.find((row) => row.of === of && code.startsWith(row.code.slice(0, -1)))
    if (found !== undefined) return found
  }
  return null
}

/** What an error says of itself, by the conventions of the clients that throw it. */
function* sayings(error: object): Generator<readonly [Classification['of'], string]> {
  const { name, code, severity, status, statusCode, response } = error as Readonly<Record<string, unknown>>
  if (typeof code === 'string') {
    if (typeof severity === 'string' || /^[0-9A-Z]{5}$/.test(code)) yield ['postgres', code]
    yield ['node', code]
    yield ['kafka', code]
  }
  const apiCode = (error as { readonly apiId?: unknown }).apiId
  if (typeof apiCode === 'string') yield ['kafka', apiCode]
  if (typeof name === 'string') yield ['node', name]
  const inner = typeof response === 'object' && response !== null ? (response as { readonly status?: unknown }).status : undefined
  for (const http of [status, statusCode, inner]) if (typeof http === 'number') yield ['http', String(http)]
}

function nameOf(of: Classification['of'], code: string): string {
  return `${of} ${code}`
}
