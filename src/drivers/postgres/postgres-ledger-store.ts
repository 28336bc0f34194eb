import type { LedgerChange, LedgerClaim, LedgerCount, LedgerEntry, LedgerKey, LedgerStore } from '../../inbox/port.ts'
import type { Transaction } from '../../message/transaction.ts'
import { type PostgresDatabase, connectionError, rollBack } from './database.ts'
import { quotedSchema } from './migrations/schema-name.ts'
import { beginCall, changeCall, countCalls, entryOf, forgetExpired, removeCall } from './queries/idempotency-key.ts'
import { flushOnCommit } from './queries/relay.ts'
import type { Statement, StatementResult } from './statement-run.ts'

export interface PostgresLedgerStoreOptions {
  readonly database: PostgresDatabase
  /** Where Tidemark's tables are. @default 'tidemark' */
  readonly schema?: string
}

/** The idempotency-key ledger in the service's Postgres database. Each change leases a connection of its own for one round trip. */
export class PostgresLedgerStore implements LedgerStore {
  readonly #database: PostgresDatabase
  readonly #schema: string

  constructor({ database, schema = 'tidemark' }: PostgresLedgerStoreOptions) {
    this.#database = database
    this.#schema = quotedSchema(schema)
  }

  async begin(key: LedgerKey, claim: LedgerClaim): Promise<{ readonly entry: LedgerEntry; readonly isMade: boolean }> {
    for (;;) {
      const { rows } = await this.#committed(beginCall(this.#schema, key, claim))
      const [row] = rows
      if (row !== undefined) return { entry: entryOf(row), isMade: row['is_made'] === true }
    }
  }

  async change(key: LedgerKey, token: string, change: LedgerChange, tx?: Transaction): Promise<LedgerEntry | null> {
    const statement = changeCall(this.#schema, key, token, change)
    const rows = tx === undefined ? (await this.#committed(statement)).rows : await tx.query(statement.text, statement.params)
    return rows[0] === undefined ? null : entryOf(rows[0])
  }

  async remove(key: LedgerKey, token: string): Promise<boolean> {
    return (await this.#committed(removeCall(this.#schema, key, token))).count > 0
  }

  async forget(limit: number): Promise<number> {
    return (await this.#committed(forgetExpired(this.#schema, limit))).count
  }

  async counts(): Promise<readonly LedgerCount[]> {
    const { rows } = await this.#committed(countCalls(this.#schema))
    return rows.map(({ scope, state, entries }) => {
      return { scope: String(scope), state: state as LedgerCount['state'], entries: Number(entries) }
    })
  }

  /** Durable even where the role commits without waiting for the disk: a call that nobody remembers would be made as if it were the first. */
  #committed(statement: Statement): Promise<StatementResult> {
    return this.#database.use(async (session) => {
      try {
        const results = await session.run([{ text: 'begin isolation level read committed' }, flushOnCommit, statement, { text: 'commit' }])
        return results[2]!
      } catch (error) {
        await rollBack(session)
        throw connectionError(error, session)
      }
    })
  }
}
