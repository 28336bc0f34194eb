import type { OutboxMessage } from '../../message/outbox-message.ts'
import type { Transaction } from '../../message/transaction.ts'
import type { AppendHints, HeldBack, Maintenance, MaintenanceOptions, OutboxStore, RelayStream } from '../../outbox/port.ts'
import { TidemarkError } from '../../errors.ts'
import type { OutboxSettings } from '../port.ts'
import type { PostgresDatabase } from './database.ts'
import { defaultSchema, quotedSchema } from './migrations/schema-name.ts'
import { keepPartitions, retentionDefaults } from './outbox-retention.ts'
import { PostgresRelayStream } from './postgres-relay-stream.ts'
import { PostgresSimpleStream } from './postgres-simple-stream.ts'
import { append } from './queries/outbox.ts'
import { heldBack, pending, pendingSimple } from './queries/pending.ts'

export interface PostgresOutboxOptions extends OutboxSettings {
  readonly database: PostgresDatabase
  /** @default 'tidemark' */
  readonly schema?: string
}

/** The outbox in Postgres. Its tables are made by `migrate`. */
export class PostgresOutboxStore implements OutboxStore {
  readonly #options: PostgresOutboxOptions
  readonly #schema: string
  readonly #streams: number

  constructor(options: PostgresOutboxOptions) {
    this.#options = options
    this.#schema = options.schema ?? defaultSchema
    this.#streams = options.streams ?? 1
    if (!Number.isInteger(this.#streams) || this.#streams < 1 || this.#streams > 64) {
      throw new TidemarkError('CONFIG_INVALID', `streams: expected a whole number from 1 to 64, got ${this.#streams}.`)
    }
  }

  append(tx: Transaction, messages: readonly OutboxMessage[], hints: AppendHints = {}): Promise<void> {
    return append(tx, messages, { schema: this.#schema, ...hints })
  }

  async pending(): Promise<number> {
    const schema = quotedSchema(this.#schema)
    const { text } = this.#options.published === 'delete' ? pendingSimple(schema) : pending(schema)
    const [row] = await this.#options.database.query<{ pending: number }>(text)
    return row!.pending
  }

  async heldBack(): Promise<HeldBack> {
    const [row] = await this.#options.database.query<{ keys: number; messages: number }>(heldBack(quotedSchema(this.#schema)).text)
    return { keys: row!.keys, messages: row!.messages }
  }

  async openStream(stream: number): Promise<RelayStream> {
    const scope = { schema: quotedSchema(this.#schema), stream, streams: this.#streams }
    const session = await this.#options.database.lease()
    return this.#options.published === 'delete' ? new PostgresSimpleStream(session, scope) : new PostgresRelayStream(session, scope)
  }

  maintain({ onEvent }: MaintenanceOptions): Maintenance {
    const { database, retention, published } = this.#options
    return keepPartitions({
      database,
      schema: this.#schema,
      settings: { ...retentionDefaults, ...retention },
      deletes: published === 'delete',
      onEvent,
    })
  }
}
