import { TidemarkError } from '../errors.ts'
import { sideBySide } from '../internal/side-by-side.ts'
import type { EventDefinition } from '../message/event.ts'
import type { Actor } from '../operation/actor.ts'
import type { Audit } from '../operation/audit.ts'
import { type RedriveHorizon, beyondHorizon, horizonExceeded } from './beyond-horizon.ts'
import { redriveConflict, unknownLetter } from './conflict.ts'
import { type DeadLetterMessage, deadLetterMessage } from './dead-letter-message.ts'
import { type EditOptions, editLetter } from './edit-letter.ts'
import { type ActingOptions, type Doer, LetterAudit, actorOf, changeOptions } from './letter-audit.ts'
import { checkedFilter, checkedLimit } from './letter-filter.ts'
import type { Letter, LetterGroup } from './letter.ts'
import { type DeadLetterStore, type LetterChange, type LetterFilter, type LetterPage, type LetterRef, anyLetter } from './port.ts'
import { addTo, sharesOf } from './redrive-shares.ts'

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

export interface DeadLetterManagerOptions {
  readonly store: () => Promise<DeadLetterStore>
  /** Who is noted as the one who did it; a name alone has no roles. @default 'application' */
  readonly actor?: string | Actor
  /** Refuses letters of which nobody can tell whether a copy was handled. @default none is */
  readonly horizon?: RedriveHorizon
  /**
   * Asks whether it may be done, and keeps that it was: verbs `dead-letter.view`, `.export`, `.redrive`, `.edit`, `.discard`, `.assign`, `.comment`, `.archive`
   * and `.restore`. The line of a change commits with it. @default everything may be done
   */
  readonly audit?: Audit
}

/** Who looks at payloads, and why. */
export type ViewOptions = ActingOptions

export interface ReplayOptions extends ActingOptions {
  /** Those beyond the dedup horizon, too. @default false */
  readonly force?: boolean
}

/** Who changes a letter, why, and on which sight of it. */
export interface ManagerChangeOptions extends ActingOptions {
  /** The version that was seen: another one is refused with `DEAD_LETTER_CONFLICT`. @default whatever it is now */
  readonly version?: number
}

/** `force`: as for a replay, where it is redriven. */
export type ManagerEditOptions<Definition extends EventDefinition> = Omit<EditOptions<Definition>, 'actor' | 'reason' | 'audit'> &
  ReplayOptions

/** Letters that are looked up at once. */
const mostAtOnce = 1_000
/** Different partitions go side by side, each on a connection. */
const partitionsAtOnce = 4

/**
 * The dead letters of a service, by the names of the textbooks. A replay is a redrive: the message goes back to the consumer that failed, and to no other, at
 * its old place in the order of its key. For large numbers use the redrive operation, which goes slowly, can be paused, and survives the process.
 *
 * A number names a letter; a text names the message, also one of digits. Lists and counts carry no payload and are not asked about. A filter with a condition that
 * there is not, or a value that it does not take, is `INPUT_INVALID` everywhere: it would match more than was meant.
 *
 * ```ts
 * await billing.deadLetters.as({ id: 'ada', roles: ['operator'] }).replay(17, { reason: 'fixed in 1.4.2' })
 * ```
 */
export class DeadLetterManager {
  readonly #options: DeadLetterManagerOptions
  readonly #store: () => Promise<DeadLetterStore>
  readonly #actor: Actor
  readonly #horizon: RedriveHorizon | undefined
  readonly #audit: LetterAudit

  constructor(options: DeadLetterManagerOptions) {
    const { store, actor = 'application', horizon, audit } = options
    this.#options = options
    this.#store = store
    this.#audit = new LetterAudit(audit)
    this.#horizon = horizon
    this.#actor = actorOf(actor)
  }

  /** The same letters, in the name of somebody with these roles. */
  as(actor: Actor): DeadLetterManager {
    return new DeadLetterManager({ ...this.#options, actor })
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

  /** One letter with its event, bytes and attempts; `null`: there is none. It stands in the audit log before it is shown. Rejects with `NOT_ALLOWED`. */
  async get(id: number | string, options: ViewOptions = {}): Promise<DeadLetterMessage | null> {
    const store = await this.#store()
    const found = await idOf(store, id)
    const letter = found === null ? null : await store.get(found)
    if (letter === null) return null
    await this.#audit.view([letter], this.#by(options))
    return deadLetterMessage(letter)
  }

  /**
   * The newest letters of a filter, with their events; each stands in the audit log by itself. Rejects with `NOT_ALLOWED`, and shows none, where one of them
   * may not be looked at. @default 100 of all that are dead
   */
  async peek(filter: LetterFilter = {}, limit = 100, options: ViewOptions = {}): Promise<readonly DeadLetterMessage[]> {
    const [checked, most] = [checkedFilter(filter), checkedLimit(limit)]
    const store = await this.#store()
    const { letters } = await store.list(checked, { limit: most })
    const details = await Promise.all(letters.map(({ id }) => store.get(id)))
    const shown = details.filter((letter) => letter !== null)
    await this.#audit.view(shown, this.#by(options))
    return shown.map(deadLetterMessage)
  }

  /** A page of letters without payloads, newest first. @default 50 of all that are dead */
  async list(filter: LetterFilter = {}, page: { readonly limit?: number; readonly after?: string } = {}): Promise<LetterPage> {
    const checked = checkedFilter(filter)
    if (page.limit !== undefined) checkedLimit(page.limit)
    return (await this.#store()).list(checked, page)
  }

  /**
   * A page of the letters in whose reason, message id, key or type a text occurs, whatever became of them, newest first, without payloads. More conditions, the
   * states among them, by the filter; `inPayload` looks into the payloads, too, and shows none.
   */
  search(
    text: string,
    filter: Omit<LetterFilter, 'text'> = {},
    page: { readonly limit?: number; readonly after?: string } = {},
  ): Promise<LetterPage> {
    return this.list({ ...anyLetter, ...filter, text }, page)
  }

  /**
   * All letters of a filter with all that is known of them, payloads included, for a file or another tool. One line of the audit log, with how many, stands there
   * before the first is handed out. The ids are taken at one moment; each letter is as it is when its turn comes. Needs two connections while it is
   * read. Rejects with `NOT_ALLOWED`.
   */
  async *export(filter: LetterFilter = {}, options: ViewOptions = {}): AsyncGenerator<DeadLetterMessage, void, undefined> {
    const checked = checkedFilter(filter)
    const store = await this.#store()
    await this.#audit.handOut((await store.count(checked)).count, this.#by(options))
    for await (const page of store.select(checked, 100)) {
      for (const { id } of page) {
        const letter = await store.get(id)
        if (letter !== null) yield deadLetterMessage(letter)
      }
    }
  }

  /**
   * Gives one letter back to its consumer: by the letter's id, or the message's where one consumer group alone could not handle it. Rejects with
   * `DEAD_LETTER_UNKNOWN`, with `DEAD_LETTER_CONFLICT` for a letter that cannot go, with the reason, and with `HORIZON_EXCEEDED` for one whose copies the inbox
   * may have forgotten, unless that is forced.
   */
  async replay(id: number | string, options: ReplayOptions = {}): Promise<void> {
    const { store, letter } = await this.#letter(id)
    const by = this.#by(options)
    await this.#audit.change(['redrive'], letter, by, async (lines) => {
      await this.#requireWithinHorizon(store, letter.id, options)
      const [outcome] = await store.redrive([{ id: letter.id }], changeOptions(by, lines))
      if (outcome!.outcome === 'redriven') return
      throw outcome!.reason === 'unknown' ? unknownLetter(id) : redriveConflict(letter.id, outcome!.reason)
    })
  }

  /**
   * Changes the message, if a handler of the event could take it then, and gives it back in the same transaction where `redrive` says so; see
   * `editLetter` for what it rejects with. With `redrive` it must be allowed to do both, and rejects as `replay` does.
   */
  async edit<Definition extends EventDefinition>(id: number | string, options: ManagerEditOptions<Definition>): Promise<Letter> {
    const { store, letter } = await this.#letter(id)
    const by = this.#by(options)
    const redrive = options.redrive === true
    return this.#audit.change(redrive ? ['edit', 'redrive'] : ['edit'], letter, by, async (lines) => {
      if (redrive) await this.#requireWithinHorizon(store, letter.id, options)
      const { event, data, content, version } = options
      const given = { event, ...(data === undefined ? {} : { data }), ...(content === undefined ? {} : { content }) }
      const seen = { redrive, ...(version === undefined ? {} : { version }) }
      return editLetter<Definition>(store, letter.id, { ...given, ...seen, ...changeOptions(by, lines) })
    })
  }

  /** Gives a message up for good, by name; those behind it go on. Rejects as `replay` does. */
  discard(id: number | string, options: ManagerChangeOptions = {}): Promise<Letter> {
    return this.#change(id, { kind: 'discard' }, options)
  }

  /** Says who looks after it; `null`: nobody. */
  assign(id: number | string, assignee: string | null, options: ManagerChangeOptions = {}): Promise<Letter> {
    return this.#change(id, { kind: 'assign', assignee }, options)
  }

  /** Adds a comment to its history. */
  comment(id: number | string, text: string, options: ManagerChangeOptions = {}): Promise<Letter> {
    return this.#change(id, { kind: 'comment', text }, options)
  }

  /** Hides it from lists and alerts. Rejects with `DEAD_LETTER_CONFLICT` for one that blocks its key: that must end first. */
  archive(id: number | string, options: ManagerChangeOptions = {}): Promise<Letter> {
    return this.#change(id, { kind: 'archive' }, options)
  }

  /** Brings an archived one back. */
  restore(id: number | string, options: ManagerChangeOptions = {}): Promise<Letter> {
    return this.#change(id, { kind: 'restore' }, options)
  }

  /** Letters that died alike, most first. */
  async groups(filter: LetterFilter = {}, limit?: number): Promise<readonly LetterGroup[]> {
    const checked = checkedFilter(filter)
    if (limit !== undefined) checkedLimit(limit)
    return (await this.#store()).groups(checked, limit)
  }

  /**
   * Gives all letters of a filter back, each key in its order, and returns how many went. The set is fixed at the start: what dies meanwhile, once more
   * or for the first time, is not in it. Letters that others redrive, discard or change meanwhile are left out, and so are those beyond the dedup horizon,
   * unless that is forced.
   */
  async replayAll(filter: ReplayFilter = {}, options: ReplayOptions = {}): Promise<number> {
    const by = this.#by(options)
    const checked = replayFilter(filter)
    return this.#audit.act(
      'redrive',
      by,
      () => this.#replayAll(checked, options, by),
      (letters) => ({ letters }),
    )
  }

  async #replayAll(filter: LetterFilter, options: ReplayOptions, by: Doer): Promise<number> {
    const store = await this.#store()
    const chosen: LetterRef[] = []
    // Read to its end first: a pool of one connection could not do both at once.
    for await (const page of store.select(filter)) chosen.push(...page)
    const beyond = await this.#beyondHorizon(
      store,
      chosen.map(({ id }) => id),
      options,
    )
    let replayed = 0
    const partitions = new Map<string, LetterRef[]>()
    for (const letter of chosen) if (!beyond.has(letter.id)) addTo(partitions, letter.place, letter)
    await sideBySide(partitions.values(), partitionsAtOnce, async (letters) => {
      for (const share of sharesOf(letters)) {
        const outcomes = await store.redrive(share, changeOptions(by, []))
        replayed += outcomes.filter(({ outcome }) => outcome === 'redriven').length
      }
    })
    return replayed
  }

  #by({ actor = this.#actor, reason = null }: { readonly actor?: string | Actor; readonly reason?: string | null }): Doer {
    return { actor: actorOf(actor), reason }
  }

  async #change(id: number | string, change: LetterChange, options: ManagerChangeOptions): Promise<Letter> {
    const { store, letter } = await this.#letter(id)
    const by = this.#by(options)
    return this.#audit.change([change.kind], letter, by, async (lines) => {
      const seen = options.version === undefined ? {} : { version: options.version }
      const changed = await store.change(letter.id, change, { ...changeOptions(by, lines), ...seen })
      if (changed === null) throw unknownLetter(id)
      return changed
    })
  }

  /** Without its payload. Rejects with `DEAD_LETTER_UNKNOWN`. */
  async #letter(id: number | string): Promise<{ readonly store: DeadLetterStore; readonly letter: Letter }> {
    const store = await this.#store()
    const found = await idOf(store, id)
    const { letters } = found === null ? { letters: [] } : await store.list({ ids: [found], ...anyLetter }, { limit: 1 })
    const [letter] = letters
    if (letter === undefined) throw unknownLetter(id)
    return { store, letter }
  }

  async #requireWithinHorizon(store: DeadLetterStore, id: number, options: ReplayOptions): Promise<void> {
    if ((await this.#beyondHorizon(store, [id], options)).has(id)) throw horizonExceeded(id)
  }

  async #beyondHorizon(store: DeadLetterStore, ids: readonly number[], { force = false }: ReplayOptions): Promise<ReadonlySet<number>> {
    if (force || this.#horizon === undefined) return new Set()
    const beyond = new Set<number>()
    for (let from = 0; from < ids.length; from += mostAtOnce) {
      const some = ids.slice(from, from + mostAtOnce).map((id) => ({ id }))
      for (const id of await beyondHorizon(store, some, this.#horizon)) beyond.add(id)
    }
    return beyond
  }
}

function replayFilter(given: ReplayFilter): LetterFilter {
  const { eventType, ...filter } = given
  if (eventType === undefined) return checkedFilter(Array.isArray(given) ? given : filter)
  if (filter.types === undefined) return checkedFilter({ ...filter, types: [eventType] })
  throw new TidemarkError('INPUT_INVALID', 'eventType and types are one condition. Give one of them.')
}

/** A number is the letter's own id; a text, whatever it looks like, that of its message. */
async function idOf(store: DeadLetterStore, id: number | string): Promise<number | null> {
  if (typeof id === 'number') {
    if (Number.isSafeInteger(id)) return id
    throw new TidemarkError('INPUT_INVALID', `The id of a dead letter is a whole number; got ${id}.`)
  }
  const { letters } = await store.list({ messageIds: [id], archived: 'any' }, { limit: 2 })
  if (letters.length < 2) return letters[0]?.id ?? null
  const groups = letters.map((letter) => `${letter.group} (${letter.id})`).join(', ')
  throw new TidemarkError('INPUT_INVALID', `The message "${id}" is a dead letter more than once: of ${groups}.`, {
    remedy: "Name one by the letter's id, a number.",
  })
}
