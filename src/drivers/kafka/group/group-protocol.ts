import { type Backoff, backoffMs } from '../../../internal/backoff.ts'
import { TidemarkError } from '../../../errors.ts'
import { groupError } from './group-error.ts'
import type { GroupCommand, GroupEvent, GroupIdentity, Settled } from './group-event.ts'
import type { GroupReply, GroupRequest } from './group-request.ts'
import { Holdings } from './holdings.ts'
import { TopicView } from './topic-view.ts'

export interface GroupSettings {
  readonly group: string
  readonly topics: readonly string[]
  readonly sessionTimeoutMs: number
  readonly drainTimeoutMs: number
  random(): number
}

/**
 * How long the coordinator waits for a member that has to join again, or to give up partitions. A drain's own deadline comes first; and a member
 * that is cut off right after it has lost its partitions by its own clock before they are given away.
 */
export function rebalanceTimeoutMs({
  sessionTimeoutMs,
  drainTimeoutMs,
}: Pick<GroupSettings, 'sessionTimeoutMs' | 'drainTimeoutMs'>): number {
  return sessionTimeoutMs + drainTimeoutMs + 5_000
}

/** `main`: what the present phase needs. At most one request of each kind is under way. */
export type Slot = 'main' | 'beat' | 'check' | 'leave'

export interface Sent {
  readonly slot: Slot
  readonly number: number
  readonly at: number
  readonly what: GroupRequest
}

/** A request that is to be sent from a moment on, if none of its kind is under way. */
export interface Due {
  readonly slot: Slot
  readonly at: number
  readonly what: () => GroupRequest
}

/** As often as other members' joins and leaves should be noticed. A session outlives two lost beats in any case. */
export const longestBeatMs = 1_000
/** Topics change rarely; a deleted one should not be read for long. */
const checkMs = 3_000
/** A coordinator that moves, loads, or is made with a new cluster's first group takes this long at the most on a slow machine. */
export const patienceMs = 30_000
/** For the goodbye: short, since the session would end it as well. */
const partingMs = 3_000
const retry: Backoff = { firstMs: 100, maxMs: 1_000 }

const coordinatorElsewhere: ReadonlySet<number> = new Set([14, 15, 16]) // COORDINATOR_LOAD_IN_PROGRESS, _NOT_AVAILABLE, NOT_COORDINATOR

/**
 * One member's side of a group protocol, without input and output: told what happened and when, it says what to do. Here is what both protocols
 * share: holdings and their deadlines, the session, the watch over the topics, retries, leaving.
 *
 * A member that has had no word from the coordinator for a session time-out, counted from when it asked, holds nothing any more: the coordinator's
 * count began later, so nobody else has been given its partitions yet.
 */
export abstract class GroupProtocol {
  protected readonly settings: GroupSettings
  protected readonly holdings = new Holdings()
  protected readonly topics = new TopicView()
  protected state: 'member' | 'leaving' | 'parting' | 'ended' = 'member'
  protected now: number
  protected beatAt = -Infinity
  protected checkAt: number
  #sessionUntil = -Infinity
  #commands: GroupCommand[] = []
  readonly #sent = new Map<Slot, Sent>()
  #requests = 0
  #failures = 0
  #accepted = false
  readonly #patientUntil: number
  #leaveBy = Infinity
  #partBy = Infinity
  #leaveAt = -Infinity

  constructor(settings: GroupSettings, now: number) {
    this.settings = settings
    this.now = now
    this.checkAt = now + checkMs
    this.#patientUntil = now + patienceMs
  }

  /** For requests in the member's name, `null` while it has none. */
  abstract get identity(): GroupIdentity | null
  protected abstract due(): readonly Due[]
  protected abstract replied(reply: GroupReply, sent: Sent): void
  /** No answer, or that of a broker that does not coordinate the group; it may have been carried out. Not before `at` it is to be sent again. */
  protected abstract unanswered(sent: Sent, at: number): void
  /** Everything was lost by our own clock. */
  protected abstract cutOff(): void
  /** Moves towards what the group gives, where that is known. */
  protected abstract advance(): void
  protected abstract goodbye(): GroupRequest | null

  /** Tells what happened at `now`, in milliseconds of a clock that never goes back. What is due by then comes first. */
  on(event: GroupEvent, now: number): readonly GroupCommand[] {
    this.now = now
    this.#commands = []
    // What the listener has given up cannot be lost any more.
    const isDrained = event.type === 'drained' && this.holdings.drained(event.drain)
    if (!this.#isOver()) this.#passDeadlines()
    if (isDrained) this.step()
    if (!this.#isOver()) this.#take(event)
    if (!this.#isOver()) this.#part()
    if (!this.#isOver()) this.#send()
    return this.#commands
  }

  /** A tick is due then, whatever happens before. */
  get wakeAt(): number {
    if (this.#isOver()) return Infinity
    const requests = this.#dueNow().map(({ at }) => at)
    const session = this.holdings.isEmpty ? Infinity : this.#sessionUntil
    return Math.min(...requests, session, this.holdings.drainUntil, this.#leaveBy, this.#partBy)
  }

  protected get isLeaving(): boolean {
    return this.state === 'leaving'
  }

  /** May what the coordinator said be acted upon? */
  protected get inSession(): boolean {
    return this.now < this.#sessionUntil
  }

  /** The names to watch. */
  protected get watched(): readonly string[] {
    return this.settings.topics
  }

  /** The coordinator has answered a request of then as to one of its members. */
  protected alive(sent: Sent): void {
    this.#sessionUntil = Math.max(this.#sessionUntil, sent.at + this.settings.sessionTimeoutMs)
    this.#failures = 0
  }

  protected accepted(): void {
    if (!this.#accepted) this.do({ do: 'accepted' })
    this.#accepted = true
  }

  /** Now for the first time, later and later where it fails again. */
  protected retryAt(patient = this.#failures > 0): number {
    this.#failures += 1
    return this.now + (patient ? backoffMs(retry, this.#failures, this.settings.random()) : 0)
  }

  protected do(...commands: readonly GroupCommand[]): void {
    this.#commands.push(...commands)
  }

  protected moveTo(target: Parameters<Holdings['moveTo']>[0]): void {
    this.do(...this.holdings.moveTo(target, Math.min(this.#leaveBy, this.now + this.settings.drainTimeoutMs)))
  }

  protected loseAll(): void {
    this.do(...this.holdings.lose())
  }

  protected isUnderWay(slot: Slot): boolean {
    return this.#sent.has(slot)
  }

  /** A reply that still comes means nothing. */
  protected abandon(slot: Slot): void {
    this.#sent.delete(slot)
  }

  protected fail(error: unknown): void {
    this.state = 'ended'
    this.holdings.lose()
    this.do({ do: 'failed', error })
  }

  /** An error code that is not the protocol's everyday business. */
  protected refused(code: number, sent: Sent, said: string | null = null): void {
    const error = groupError(code, this.settings, said)
    if (error.retryable) this.#trouble(sent, error)
    else this.fail(error)
  }

  #isOver(): boolean {
    return this.state === 'ended'
  }

  #passDeadlines(): void {
    if (this.now >= this.#partBy) return this.#end()
    if (!this.holdings.isEmpty && !this.inSession) {
      this.loseAll()
      this.cutOff()
    }
    if (this.now >= this.holdings.drainUntil) {
      this.do(...this.holdings.loseDraining())
      this.step()
    }
    if (this.now >= this.#leaveBy) this.loseAll()
  }

  protected step(): void {
    if (this.isLeaving) this.moveTo([])
    else if (this.state === 'member') this.advance()
  }

  #take(event: GroupEvent): void {
    switch (event.type) {
      case 'tick':
      case 'drained':
        return
      case 'poke':
        this.beatAt = this.checkAt = this.now
        return
      case 'leave':
        return this.#leave()
      case 'reply':
      case 'rejected':
        return this.#settle(event)
    }
  }

  #settle(event: Settled): void {
    const sent = [...this.#sent.values()].find(({ number }) => number === event.request)
    // It was abandoned.
    if (sent === undefined) return
    this.#sent.delete(sent.slot)
    if (event.type === 'rejected') this.#rejected(sent, event.error)
    else if (sent.slot === 'leave') this.#parted(sent, event.reply)
    else if (event.reply.api === 'describe') this.#described(sent, event.reply)
    else if ('error' in event.reply && coordinatorElsewhere.has(event.reply.error)) this.refused(event.reply.error, sent)
    else this.replied(event.reply, sent)
  }

  #described(sent: Sent, reply: GroupReply & { readonly api: 'describe' }): void {
    if (sent.what.api === 'describe') this.topics.see(sent.what.names, reply.topics)
    this.checkAt = Math.min(this.checkAt, this.now + checkMs)
    this.do(...this.holdings.lose((one) => !this.topics.has(one)))
    if (sent.slot === 'main') this.replied(reply, sent)
    else this.step()
  }

  #rejected(sent: Sent, error: unknown): void {
    if (TidemarkError.is(error) && error.retryable) this.#trouble(sent, error)
    else if (this.state === 'parting') this.#end()
    else this.fail(error)
  }

  #trouble(sent: Sent, error: TidemarkError): void {
    if (!this.#accepted && this.now >= this.#patientUntil) return this.fail(error)
    const at = this.retryAt(true)
    if (sent.what.api !== 'describe') this.do({ do: 'forget coordinator' })
    if (sent.slot === 'leave') this.#leaveAt = at
    else if (sent.slot === 'check') this.checkAt = at
    else this.unanswered(sent, at)
  }

  #leave(): void {
    if (this.state !== 'member') return
    this.state = 'leaving'
    this.#leaveBy = this.now + this.settings.drainTimeoutMs
    this.step()
  }

  /** Says goodbye, once a leaving member holds nothing any more. */
  #part(): void {
    if (!this.isLeaving || !this.holdings.isEmpty) return
    this.state = 'parting'
    this.#leaveBy = Infinity
    this.#partBy = this.now + partingMs
    this.#sent.clear()
    if (this.goodbye() === null) this.#end()
  }

  #parted(sent: Sent, reply: GroupReply): void {
    if ('error' in reply && coordinatorElsewhere.has(reply.error)) this.refused(reply.error, sent)
    else this.#end()
  }

  #end(): void {
    this.state = 'ended'
    this.do({ do: 'left' })
  }

  #dueNow(): readonly Due[] {
    const parting: Due = { slot: 'leave', at: this.#leaveAt, what: () => this.goodbye()! }
    const check: Due = { slot: 'check', at: this.checkAt, what: () => ({ api: 'describe', names: this.watched }) }
    return (this.state === 'parting' ? [parting] : [...this.due(), check]).filter(({ slot }) => !this.#sent.has(slot))
  }

  #send(): void {
    for (const { slot, at, what } of this.#dueNow()) {
      if (at > this.now) continue
      // Whatever asks for another one while this one is under way gets it right after.
      if (slot === 'beat') this.beatAt = Infinity
      if (slot === 'check') this.checkAt = Infinity
      const sent: Sent = { slot, number: (this.#requests += 1), at: this.now, what: what() }
      this.#sent.set(slot, sent)
      this.do({ do: 'send', request: sent.number, what: sent.what })
    }
  }
}
