import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import type { Figures } from '../harness/subject.ts'

/** What every system's process is given. */
export interface ConsumeInput<Settings = unknown> {
  /** The database with the table of effects. */
  readonly database: string
  readonly messages: number
  /** Settings of the system itself. */
  readonly settings: Settings
}

/**
 * The clock of a run, the same for all systems: it starts with the call that starts the consumer, and stops when another session sees
 * the last effect. Handlers tell how many messages they have begun, so that the table is not asked before it can be complete.
 */
export class EffectWatch {
  readonly #expected: number
  readonly #client: pg.Client
  #begun = 0
  #firstAt = Number.NaN
  #allBegun: () => void = () => {}
  readonly #whenAllBegun = new Promise<void>((resolve) => {
    this.#allBegun = resolve
  })

  constructor(input: ConsumeInput) {
    this.#expected = input.messages
    this.#client = new pg.Client({ connectionString: input.database })
  }

  async open(): Promise<void> {
    await this.#client.connect()
  }

  /** To be called first thing in a handler. */
  begun(messages: number): void {
    if (this.#begun === 0) this.#firstAt = performance.now()
    this.#begun += messages
    if (this.#begun >= this.#expected) this.#allBegun()
  }

  /** Starts the consumer and resolves when all effects are visible. */
  async measure(start: () => Promise<unknown>): Promise<Figures> {
    const startedAt = performance.now()
    await start()
    await this.#whenAllBegun
    while ((await this.#effects()) < this.#expected) await delay(1)
    const endedAt = performance.now()
    return { seconds: (endedAt - startedAt) / 1000, firstMessageMs: this.#firstAt - startedAt }
  }

  async close(): Promise<void> {
    await this.#client.end()
  }

  async #effects(): Promise<number> {
    const { rows } = await this.#client.query<{ effects: number }>('select count(*)::int as effects from invoices')
    return rows[0]?.effects ?? 0
  }
}
