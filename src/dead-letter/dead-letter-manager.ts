import { TidemarkError } from '../errors.ts'
import { sideBySide } from '../internal/side-by-side.ts'
import type { EventDefinition } from '../message/event.ts'
import type { Audit, AuditEntry } from '../operation/audit.ts'
import { type RedriveHorizon, beyondHorizon, horizonExceeded } from './beyond-horizon.ts'
import { redriveConflict, unknownLetter } from './conflict.ts'
import { type DeadLetterMessage, deadLetterMessage } from './dead-letter-message.ts'
import { type EditOptions, editLetter } from './edit-letter.ts'
import type { Letter, LetterGroup } from './letter.ts'
import type { ChangeOptions, DeadLetterStore, LetterFilter, LetterRef } from './port.ts'

/** All dead letters by the numbers. */
export interface DeadLetterStats {
  readonly totalCount: number
  /** `unknown`: messages that name no type. */
  readonly byEventType: Readonly<Record<string, number>>
  readonly byFailureReason: Readonly<Record<string, number>>
  /** When the oldest of them failed for the first time; `undefined`: there are none. */
  readonly oldestMessage: Date | undefined
}

export interface ReplayFilter extends LetterFilter {
  /** The same as `types` with one. */
  readonly eventType?: string
}

/** `actor`: @default that of the manager. `force`: as for a replay, where it is redriven. */
export type ManagerEditOptions<Definition extends EventDefinition> = Omit<EditOptions<Definition>, 'actor'> &
  Pick<ReplayOptions, 'actor' | 'force'>

export interface DeadLetterManagerOptions {
  readonly store: () => Promise<DeadLetterStore>
  /** Who is noted as the one who did it. @default 'application' */
  readonly actor?: string
  /** Refuses letters of which nobody can tell whether a copy was handled. @default none is */
  readonly horizon?: RedriveHorizon
  /** Asks whether it may be done, and keeps that it was: verbs `dead-letter.view`, `.redrive`, `.edit` and `.discard`. @default everything may be done */
  readonly audit?: Audit
}

/** Who looks at payloads, and why. */
export interface ViewOptions {
  /** @default that of the manager */
  readonly actor?: string
  /** Kept with it. */
  readonly reason?: string
}

export interface ReplayOptions {
  /** Those beyond the dedup horizon, too. @default false */
  readonly force?: boolean
  /** Who does it. @default that of the manager */
  readonly actor?: string
  /** Kept with it. */
  readonly reason?: string
}

/** Who does something, and why. */
type Doer = Pick<ChangeOptions, 'actor' | 'reason'>

/** Letters of one key in one transaction; those of a larger one go in several, in their order. */
const mostAtOnce = 1_000
/** Different keys go side by side, each on a connection, and so do lines of the audit log. */
const keysAtOnce = 4

/**
 * The dead letters of a service, by the names of the textbooks. A replay is a redrive: the message goes back to the consumer that failed, and to no other, at
 * its old place in the order of its key. For large numbers use the redrive operation, which goes slowly, can be paused, and survives the process.
 */
export class DeadLetterManager {
  readonly #store: () => Promise<DeadLetterStore>
  readonly #actor: string
  readonly #horizon: RedriveHorizon | undefined
  readonly #audit: Audit | undefined

  constructor({ store, actor = 'application', horizon, audit }: DeadLetterManagerOptions) {
    this.#store = store
    this.#audit = audit
    this.#horizon = horizon
    this.#actor = actor
  }

  /** Over all letters that are dead, archived ones included. */
  async getDeadLetterStats(): Promise<DeadLetterStats> {
    const { count, byType, byReason, oldestFailure } = await (await this.#store()).stats({ archived: 'any' })
    return {
      totalCount: count,
      byEventType: Object.fromEntries([...byType].map(([type, n]) => [type === '' ? 'unknown' : type, n])),
      byFailureReason: Object.fromEntries(byReason),
      oldestMessage: oldestFailure ?? undefined,
    }
  }

  /** One letter with its event; `null`: there is none. It stands in the audit log before it is shown. Rejects with `NOT_ALLOWED`. */
  async get(id: number | string, options: ViewOptions = {}): Promise<DeadLetterMessage | null> {
    const store = await this.#store()
    const found = await idOf(store, id)
    const letter = found === null ? null : await store.get(found)
    if (letter === null) return null
    await this.#noteViews([letter], options)
    return deadLetterMessage(letter)
  }

  /**
   * The newest letters of a filter, with their events; each stands in the audit log by itself. Rejects with `NOT_ALLOWED`, and shows none, where one of them
   * may not be looked at. @default 100 of all that are dead
   */
  async peek(filter: LetterFilter = {}, limit = 100, options: ViewOptions = {}): Promise<readonly DeadLetterMessage[]> {
    const store = await this.#store()
    const { letters } = await store.list(filter, { limit })
    const details = await Promise.all(letters.map(({ id }) => store.get(id)))
    const shown = details.filter((letter) => letter !== null)
    await this.#noteViews(shown, options)
    return shown.map(deadLetterMessage)
  }

  /**
   * Gives one letter back to its consumer: by the letter's id, or the message's where one consumer group alone could not handle it. Rejects with
   * `DEAD_LETTER_UNKNOWN`, with `DEAD_LETTER_CONFLICT` for a letter that cannot go, with the reason, and with `HORIZON_EXCEEDED` for one whose copies the inbox
   * may have forgotten, unless that is forced.
   */
  async replay(id: number | string, options: ReplayOptions = {}): Promise<void> {
    const store = await this.#store()
    const found = await idOf(store, id)
    if (found === null) throw unknownLetter(id)
    if ((await this.#beyondHorizon(store, [found], options)).has(found)) throw horizonExceeded(found)
    const by = this.#by(options)
    await this.#audited('redrive', found, by, async () => {
      const [outcome] = await store.redrive([{ id: found }], by)
      if (outcome!.outcome === 'redriven') return
      throw outcome!.reason === 'unknown' ? unknownLetter(id) : redriveConflict(found, outcome!.reason)
    })
  }

  /**
   * Changes the message, if a handler of the event could take it then, and gives it back in the same transaction where `redrive` says so; see
   * `editLetter` for what it rejects with. With `redrive` it must be allowed to do both, and rejects as `replay` does.
   */
  async edit<Definition extends EventDefinition>(id: number | string, options: ManagerEditOptions<Definition>): Promise<Letter> {
    const store = await this.#store()
    const found = await idOf(store, id)
    if (found === null) throw unknownLetter(id)
    const by = this.#by(options)
    const edit = (): Promise<Letter> => this.#audited('edit', found, by, () => editLetter(store, found, { ...options, ...by }))
    if (options.redrive !== true) return edit()
    if ((await this.#beyondHorizon(store, [found], options)).has(found)) throw horizonExceeded(found)
    return this.#audited('redrive', found, by, edit)
  }

  /** Gives a message up for good, by name; those behind it go on. Rejects as `replay` does. */
  async discard(id: number | string, options: Partial<ChangeOptions> = {}): Promise<Letter> {
    const store = await this.#store()
    const found = await idOf(store, id)
    if (found === null) throw unknownLetter(id)
    const by = this.#by(options)
    return this.#audited('discard', found, by, async () => {
      const letter = await store.change(found, { kind: 'discard' }, { ...options, ...by })
      if (letter === null) throw unknownLetter(id)
      return letter
    })
  }

  /** Letters that died alike, most first. */
  async groups(filter: LetterFilter = {}, limit?: number): Promise<readonly LetterGroup[]> {
    return (await this.#store()).groups(filter, limit)
  }

  /**
   * Gives all letters of a filter back, each key in its order, and returns how many went. The set is fixed at the start: what dies meanwhile, once more
   * or for the first time, is not in it. Letters that others redrive, discard or change meanwhile are left out, and so are those beyond the dedup horizon,
   * unless that is forced.
   */
  async replayAll(filter: ReplayFilter = {}, options: ReplayOptions = {}): Promise<number> {
    const by = this.#by(options)
    return this.#audited('redrive', null, by, () => this.#replayAll(filter, options, by))
  }

  async #replayAll({ eventType, ...filter }: ReplayFilter, options: ReplayOptions, by: Doer): Promise<number> {
    const store = await this.#store()
    const chosen: LetterRef[] = []
    const types = eventType === undefined ? {} : { types: [eventType] }
    // Read to its end first: a pool of one connection could not do both at once.
    for await (const page of store.select({ ...filter, ...types })) chosen.push(...page)
    const beyond = await this.#beyondHorizon(
      store,
      chosen.map(({ id }) => id),
      options,
    )
    let replayed = 0
    const keys = byKey(chosen.filter(({ id }) => !beyond.has(id)))
    await sideBySide(keys, keysAtOnce, async (letters) => {
      for (let from = 0; from < letters.length; from += mostAtOnce) {
        const outcomes = await store.redrive(letters.slice(from, from + mostAtOnce), by)
        replayed += outcomes.filter(({ outcome }) => outcome === 'redriven').length
      }
    })
    return replayed
  }

  #by({ actor = this.#actor, reason }: { readonly actor?: string; readonly reason?: string }): Doer {
    return { actor, ...(reason === undefined ? {} : { reason }) }
  }

  /** Before they are shown. All are asked for first: a line says of what was shown, not of what would have been. */
  async #noteViews(letters: readonly Letter[], options: ViewOptions): Promise<void> {
    const audit = this.#audit
    if (audit === undefined) return
    const { actor, reason = null } = this.#by(options)
    const allowed: AuditEntry[] = []
    for (const { id, group } of letters) {
      const target = { type: 'dead-letter', id: String(id), details: { group } }
      allowed.push(await audit.allow({ actor: { id: actor, roles: [] }, verb: 'dead-letter.view', target, reason }))
    }
    await sideBySide(allowed, keysAtOnce, (entry) => audit.record(entry))
  }

  #audited<T>(verb: 'redrive' | 'edit' | 'discard', id: number | null, { actor, reason }: Doer, work: () => Promise<T>): Promise<T> {
    if (this.#audit === undefined) return work()
    const target = { type: 'dead-letter', id: id === null ? null : String(id) }
    return this.#audit.act({ actor: { id: actor, roles: [] }, verb: `dead-letter.${verb}`, target, reason: reason ?? null }, work)
  }

  async #beyondHorizon(store: DeadLetterStore, ids: readonly number[], { force = false }: ReplayOptions): Promise<ReadonlySet<number>> {
    if (force || this.#horizon === undefined) return new Set()
    const beyond = new Set<number>()
    for (let from = 0; from < ids.length; from += mostAtOnce) {
      const { letters } = await store.list({ ids: ids.slice(from, from + mostAtOnce), archived: 'any' }, { limit: mostAtOnce })
      for (const id of await beyondHorizon(store, letters, this.#horizon)) beyond.add(id)
    }
    return beyond
  }
}

/** Letters of one key stand together. */
function* byKey(chosen: readonly LetterRef[]): Generator<readonly LetterRef[]> {
  for (let from = 0; from < chosen.length;) {
    let to = from + 1
    while (to < chosen.length && chosen[to]!.order === chosen[from]!.order) to++
    yield chosen.slice(from, to)
    from = to
  }
}

/** The letter's own id, or the one that has this message. */
async function idOf(store: DeadLetterStore, id: number | string): Promise<number | null> {
  if (typeof id === 'number' || /^\d{1,15}$/.test(id)) return Number(id)
  const { letters } = await store.list({ messageIds: [id], archived: 'any' }, { limit: 2 })
  if (letters.length < 2) return letters[0]?.id ?? null
  const groups = letters.map((letter) => `${letter.group} (${letter.id})`).join(', ')
  throw new TidemarkError('INPUT_INVALID', `The message "${id}" is a dead letter more than once: of ${groups}.`, {
    remedy: "Name one by the letter's id.",
  })
}
