import type { AlertState } from '../../dead-letter/alert/alert-machine.ts'
import type { AlertStore, Contact } from '../../dead-letter/alert/port.ts'
import type { MemoryDatabase } from './memory-database.ts'

/** What was said of dead letters, and who is told, for the life of the process. */
export class MemoryAlertStore implements AlertStore {
  readonly #database: Pick<MemoryDatabase, 'clock'>
  readonly #contacts = new Map<string, Contact>()
  readonly #alerts = new Map<string, AlertState>()
  #watch: { readonly holder: string; readonly until: number } | null = null

  constructor(database: Pick<MemoryDatabase, 'clock'>) {
    this.#database = database
  }

  async noteContacts(contacts: readonly Contact[]): Promise<void> {
    for (const contact of contacts) this.#contacts.set(contact.group, contact)
  }

  async contacts(): Promise<readonly Contact[]> {
    return [...this.#contacts.values()].sort((a, b) => (a.group < b.group ? -1 : 1))
  }

  async watch(holder: string, leaseMs: number): Promise<boolean> {
    const now = this.#database.clock.now()
    if (this.#watch !== null && this.#watch.holder !== holder && this.#watch.until >= now) return false
    this.#watch = { holder, until: now + leaseMs }
    return true
  }

  async endWatch(holder: string): Promise<void> {
    if (this.#watch?.holder === holder) this.#watch = null
  }

  async alerts(): Promise<ReadonlyMap<string, AlertState>> {
    return new Map(this.#alerts)
  }

  async saveAlert(holder: string, group: string, state: AlertState | null): Promise<boolean> {
    if (this.#watch?.holder !== holder) return false
    if (state === null) this.#alerts.delete(group)
    else this.#alerts.set(group, state)
    return true
  }
}
