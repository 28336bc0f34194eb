import { brokerClosed } from '../../../message/broker-error.ts'
import type { PostgresDatabase } from '../database.ts'
import type { Session } from '../session.ts'
import { brokerError } from './broker-error.ts'

/** The log's database with the errors of the broker port. Shared by all parts of one broker. */
export class LogStore {
  readonly schema: string
  readonly #database: PostgresDatabase
  readonly #prepare: () => Promise<unknown>
  #prepared: Promise<unknown> | null = null
  #closed = false

  /** `schema` is quoted already. `prepare` brings the tables up to date; it runs before the first use, again only after it has failed. */
  constructor(database: PostgresDatabase, schema: string, prepare: () => Promise<unknown> = () => Promise.resolve()) {
    this.#database = database
    this.schema = schema
    this.#prepare = prepare
  }

  /** Leases a session. */
  async use<T>(work: (session: Session, schema: string) => Promise<T>): Promise<T> {
    if (this.#closed) throw brokerClosed('broker')
    try {
      await this.#ready()
      return await this.#database.use((session) => work(session, this.schema))
    } catch (error) {
      throw brokerError(error)
    }
  }

  async transaction<T>(work: (session: Session, schema: string) => Promise<T>): Promise<T> {
    if (this.#closed) throw brokerClosed('broker')
    try {
      await this.#ready()
      return await this.#database.transaction((_tx, session) => work(session, this.schema))
    } catch (error) {
      throw brokerError(error)
    }
  }

  #ready(): Promise<unknown> {
    this.#prepared ??= this.#prepare().catch((error: unknown) => {
      this.#prepared = null
      throw error
    })
    return this.#prepared
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.#database.close()
  }
}
