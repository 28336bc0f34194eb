import type { AlertState } from '../../dead-letter/alert/alert-machine.ts'
import type { AlertStore, Contact } from '../../dead-letter/alert/port.ts'
import type { PostgresDatabase } from './database.ts'
import { defaultSchema, quotedSchema } from './migrations/schema-name.ts'
import * as alert from './queries/dead-letter-alert.ts'
import type { Statement, StatementResult } from './statement-run.ts'

/** What was said of dead letters, and who is told, in the service's Postgres database. */
export class PostgresAlertStore implements AlertStore {
  readonly #database: PostgresDatabase
  readonly #schema: string

  constructor({ database, schema = defaultSchema }: { readonly database: PostgresDatabase; readonly schema?: string }) {
    this.#database = database
    this.#schema = quotedSchema(schema)
  }

  async noteContacts(contacts: readonly Contact[]): Promise<void> {
    if (contacts.length > 0) await this.#run(alert.noteContacts(this.#schema, contacts))
  }

  async contacts(): Promise<readonly Contact[]> {
    const { rows } = await this.#run(alert.readContacts(this.#schema))
    return rows.map((row) => ({
      group: String(row['group_name']),
      owner: row['owner'] as string | null,
      runbook: row['runbook'] as string | null,
    }))
  }

  async watch(holder: string, leaseMs: number): Promise<boolean> {
    return (await this.#run(alert.takeWatch(this.#schema, holder, leaseMs))).count > 0
  }

  async endWatch(holder: string): Promise<void> {
    await this.#run(alert.endWatch(this.#schema, holder))
  }

  async alerts(): Promise<ReadonlyMap<string, AlertState>> {
    const { rows } = await this.#run(alert.readAlerts(this.#schema))
    return new Map(rows.map((row) => [String(row['group_name']), row['state'] as AlertState]))
  }

  async saveAlert(holder: string, group: string, state: AlertState | null): Promise<boolean> {
    const schema = this.#schema
    const done = state === null ? alert.removeAlert(schema, holder, group) : alert.saveAlert(schema, holder, group, state)
    return (await this.#run(done)).count > 0
  }

  async #run(statement: Statement): Promise<StatementResult> {
    const [result] = await this.#database.use((session) => session.run([statement]))
    return result!
  }
}
