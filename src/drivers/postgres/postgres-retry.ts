import type { LeasedKey, RetryEnd, RetryOutcome, RetryTransaction } from '../../consumer/parked-port.ts'
import { PostgresHandlerTransaction } from './handler-transaction.ts'
import { quotedSchema } from './migrations/schema-name.ts'
import { settingsRead } from './queries/handler-settings.ts'
import { rememberHandled } from './queries/inbox.ts'
import { appendStatements } from './queries/outbox.ts'
import { blockIfDead, lockLease, releaseIfEmpty, removeMessages, requireHead } from './queries/retry.ts'
import type { Session } from './session.ts'

interface RetrySettings {
  readonly schema: string
  readonly key: LeasedKey
  readonly standstillMs: number
}

/** A retrier's transaction for one key. */
export class PostgresRetry extends PostgresHandlerTransaction implements RetryTransaction {
  readonly #settings: RetrySettings

  constructor(session: Session, settings: RetrySettings) {
    const { schema, key, standstillMs } = settings
    super(session, { schema, group: key.partition.group, standstillMs, first: { text: `select ${settingsRead}` } })
    this.#settings = settings
  }

  async commit({ done, handled, publish }: RetryEnd): Promise<RetryOutcome> {
    const { schema, key } = this.#settings
    const quoted = quotedSchema(schema)
    const offsets = key.messages.slice(0, done).map(({ record }) => record.offset)
    const result = await this.end({
      publish: appendStatements(schema, publish),
      fence: lockLease(quoted, key),
      after: [
        requireHead(quoted, key, offsets),
        removeMessages(quoted, key, offsets),
        releaseIfEmpty(quoted, key),
        blockIfDead(quoted, key),
        ...(handled.length === 0 ? [] : [rememberHandled(quoted, key.partition.group, [...handled].sort())]),
      ],
      crashPoints: ['retry:after-handler', 'retry:after-key-lock', 'retry:after-removal', 'retry:after-commit'],
    })
    if (result.outcome === 'committed') return { outcome: 'committed', released: result.after[2]!.length > 0 }
    if (result.outcome === 'refused') return result
    if (result.outcome === 'duplicate') return { outcome: 'duplicate' }
    return { outcome: 'moved' }
  }
}
