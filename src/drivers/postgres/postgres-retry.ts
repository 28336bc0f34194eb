import type { LeasedKey, RetryEnd, RetryOutcome, RetryTransaction } from '../../consumer/parked-port.ts'
import { PostgresHandlerTransaction } from './handler-transaction.ts'
import { quotedSchema } from './migrations/schema-name.ts'
import { settingsRead } from './queries/handler-settings.ts'
import { rememberHandled } from './queries/inbox.ts'
import { appendStatements } from './queries/outbox.ts'
import { blockIfDead, lockLeases, releaseIfEmpty, removeMessages, requireHeads } from './queries/retry.ts'
import type { Session } from './session.ts'

interface RetrySettings {
  readonly schema: string
  /** Of one group; never empty. */
  readonly keys: readonly LeasedKey[]
  readonly standstillMs: number
}

/** A retrier's transaction for some keys. */
export class PostgresRetry extends PostgresHandlerTransaction implements RetryTransaction {
  readonly #settings: RetrySettings
  readonly #group: string

  constructor(session: Session, settings: RetrySettings) {
    const { schema, keys, standstillMs } = settings
    const { group } = keys[0]!.partition
    super(session, { schema, group, standstillMs, first: { text: `select ${settingsRead}` } })
    this.#settings = settings
    this.#group = group
  }

  async commit({ done, handled, publish }: RetryEnd): Promise<RetryOutcome> {
    const { schema, keys } = this.#settings
    const quoted = quotedSchema(schema)
    const heads = keys
      .map((key, i) => ({ key, offsets: key.messages.slice(0, done[i]).map(({ record }) => record.offset) }))
      .filter(({ offsets }) => offsets.length > 0)
    const changed = heads.map(({ key }) => key)
    const result = await this.end({
      publish: appendStatements(schema, publish),
      fence: lockLeases(quoted, changed),
      after: [
        requireHeads(quoted, heads),
        removeMessages(quoted, heads),
        releaseIfEmpty(quoted, changed),
        blockIfDead(quoted, changed),
        ...(handled.length === 0 ? [] : [rememberHandled(quoted, this.#group, [...handled].sort())]),
      ],
      crashPoints: ['retry:after-handler', 'retry:after-key-lock', 'retry:after-removal', 'retry:after-commit'],
    })
    if (result.outcome === 'committed') return { outcome: 'committed' }
    if (result.outcome === 'refused') return result
    if (result.outcome === 'duplicate') return { outcome: 'duplicate' }
    return { outcome: 'moved' }
  }
}
