import { hostname } from 'node:os'
import { TidemarkError } from '../errors.ts'
import { type Actor, type AuditDetails, type Authorize, type Origin, type Target, allowAll, checkActor } from './actor.ts'
import type { AuditFilter, AuditStore } from './port.ts'

/** What somebody is about to do. */
export interface Action {
  readonly actor: Actor
  /** `<noun>.<verb>`. */
  readonly verb: string
  readonly target: Target
  /** Why, in the words of who does it. */
  readonly reason?: string | null
}

/** One line of the audit log: who did what, when, to what, why, from where, and how it went. No payload is in it. */
export interface AuditEntry {
  readonly actor: Actor
  readonly verb: string
  readonly target: Pick<Target, 'type' | 'id'>
  readonly reason: string | null
  readonly origin: Origin
  readonly host: string
  /** `asked`: it was about to begin; the line with its end follows, unless the process died. */
  readonly outcome: 'asked' | 'done' | 'refused' | 'failed'
  readonly details: AuditDetails
}

/** As it stands in the log. */
export interface AuditRecord extends AuditEntry {
  readonly id: number
  /** By the database's clock. */
  readonly at: Date
}

export interface AuditOptions {
  readonly store: AuditStore
  /** @default everybody may do everything */
  readonly authorize?: Authorize
  /** @default 'api' */
  readonly origin?: Origin
  /** @default the name of this machine */
  readonly host?: string
}

/**
 * Asks `authorize`, and keeps who did what. A refusal is kept, too.
 *
 * ```ts
 * await audit.act({ actor, verb: 'cache.clear', target: { type: 'cache', id: 'prices' } }, () => prices.clear())
 * ```
 */
export class Audit {
  readonly #store: AuditStore
  readonly #authorize: Authorize
  readonly #from: { readonly origin: Origin; readonly host: string }

  constructor({ store, authorize = allowAll, origin = 'api', host = hostname() }: AuditOptions) {
    this.#store = store
    this.#authorize = authorize
    this.#from = { origin, host }
  }

  /**
   * Asks whether it may be done. Rejects with `NOT_ALLOWED`, which is in the log then, and with `INPUT_INVALID` for an actor that is none. Returns the line that whoever does it is to store, best in the
   * transaction that does it.
   */
  async allow(action: Action): Promise<AuditEntry> {
    const { actor, verb, target, reason = null } = action
    checkActor(actor, reason)
    const { type, id, details = {} } = target
    const entry: AuditEntry = { actor, verb, target: { type, id }, reason, ...this.#from, outcome: 'done', details }
    const refusal = await this.#refusal(action)
    if (refusal === null) return entry
    await this.#store.record({ ...entry, outcome: 'refused' })
    throw refusal
  }

  /**
   * For what is one transaction: asks, and hands over the line that `work` stores in the transaction that does it, so that neither is there without the other.
   * A failure is noted afterwards.
   */
  async within<T>(action: Action, work: (line: AuditEntry) => Promise<T>): Promise<T> {
    const entry = await this.allow(action)
    return this.#orNoteFailure(entry, () => work(entry))
  }

  /**
   * For what is no single transaction of the database: asks, stores a line with the outcome `asked`, does it, and stores the outcome with what `told` says of it.
   * Nothing is done without a line: a process that dies leaves the first one alone, and so does one whose database is away then; it rejects with that,
   * though it is done.
   */
  async act<T>(action: Action, work: () => Promise<T>, told: (result: T) => AuditDetails = () => ({})): Promise<T> {
    const entry = await this.allow(action)
    await this.#store.record({ ...entry, outcome: 'asked' })
    const result = await this.#orNoteFailure(entry, work)
    await this.#store.record({ ...entry, details: { ...entry.details, ...told(result) } })
    return result
  }

  /** Before a payload is shown: asks, and notes it. Show it after this has resolved. */
  async view(actor: Actor, target: Target, reason: string | null = null): Promise<void> {
    await this.#store.record(await this.allow({ actor, verb: `${target.type}.view`, target, reason }))
  }

  /** Stores lines that were allowed before. */
  record(entry: AuditEntry): Promise<void> {
    return this.#store.record(entry)
  }

  /** Newest first. */
  list(filter: AuditFilter = {}): Promise<readonly AuditRecord[]> {
    return this.#store.listAudit(filter)
  }

  async #orNoteFailure<T>(entry: AuditEntry, work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      // What was to be done is what the caller has to hear of, whatever becomes of the log.
      await this.#store.record({ ...entry, outcome: 'failed', details: { ...entry.details, error: codeOf(error) } }).catch(() => undefined)
      throw error
    }
  }

  async #refusal({ actor, verb, target }: Action): Promise<TidemarkError | null> {
    const what = `${actor.id} may not do "${verb}" on ${target.type}${target.id === null ? '' : ` ${target.id}`}.`
    const details = { actor: actor.id, verb, target: target.type }
    try {
      if (await this.#authorize(actor, verb, target)) return null
      return new TidemarkError('NOT_ALLOWED', what, { details, remedy: 'Ask somebody who may, or change what authorize allows.' })
    } catch (cause) {
      return new TidemarkError('NOT_ALLOWED', `${what} The authorize hook failed.`, { cause, details, remedy: 'See its error.' })
    }
  }
}

/** The code or the class of an error, never what it says: such texts quote payloads. */
function codeOf(error: unknown): string {
  if (TidemarkError.is(error)) return error.code
  return error instanceof Error ? error.name : typeof error
}
