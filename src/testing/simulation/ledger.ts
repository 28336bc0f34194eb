import type { BatchEnd, DeadLetter, LaneRef, PartitionRef } from '../../consumer/port.ts'
import type { LogRecord } from '../../message/port.ts'

/** What is wrong with a message, by the will of the simulation. */
export type Trouble = 'none' | 'poison' | 'flaky' | 'unreadable' | 'refused' | 'later' | 'hanging' | 'deadly'

/** A message as it was sent. */
export interface Sent {
  readonly id: string
  /** Topic and key: what has to keep its order. `null`: nothing has. */
  readonly key: string | null
  readonly trouble: Trouble
  /** Somebody handles messages of its type. */
  readonly routed: boolean
  /** Its handler publishes this one. */
  readonly echo: string | null
  /** Sent by a program that is not ours, perhaps more than once: on the wire without an outbox. */
  readonly foreign: boolean
}

interface Entry extends Sent {
  /** Place in the order of the commits. */
  readonly place: number
  /** Place of its first copy among all records; `null`: not on the wire. */
  wire: number | null
  end: 'waiting' | 'parked' | 'handled' | 'dead' | 'discarded'
  /** It is dead, and holds up its key. */
  blocks: boolean
}

/**
 * Keeps count of what was committed, what is on the wire, and what took effect, apart from the code under test, and speaks up when a promise is
 * broken: at the commit that breaks it, not at the end.
 */
export class Ledger {
  readonly #entries = new Map<string, Entry>()
  readonly #lastOnWire = new Map<string, number>()
  readonly #lastEffect = new Map<string, number>()
  readonly #lastOfBatch = new WeakMap<object, number>()
  /** By key, what waits in the database: parked messages, and dead ones that block them. */
  readonly #waiting = new Map<string, Set<Entry>>()
  readonly #owners = new Map<string, { readonly epoch: number; readonly process: string }>()
  readonly #mended = new Set<string>()
  /** Only messages that end processes may be given up for it. */
  readonly #blamesExactly: boolean
  /** Keys of messages that may fail and be run again behind others. */
  readonly #fickleKeys = new Set<string | null>()
  #violation: string | null = null
  #records = 0

  /** Failed messages do not hold up those of their key. */
  readonly #isLoose: boolean

  /** By operators. */
  readonly #held = new Set<string>()

  constructor({ blamesExactly = false, isLoose = false }: { readonly blamesExactly?: boolean; readonly isLoose?: boolean } = {}) {
    this.#blamesExactly = blamesExactly
    this.#isLoose = isLoose
  }

  /** The first broken promise. */
  get violation(): string | null {
    return this.#violation
  }

  get size(): number {
    return this.#entries.size
  }

  violate(what: string): void {
    this.#violation ??= what
  }

  trouble(id: string): Trouble {
    return this.#entries.get(id)?.trouble ?? 'none'
  }

  echo(id: string): string | null {
    return this.#entries.get(id)?.echo ?? null
  }

  /** A transaction that publishes these has committed. */
  published(messages: readonly Sent[]): void {
    for (const message of messages) {
      if (this.#entries.has(message.id)) this.violate(`P3: ${message.id} was published twice`)
      if (isFickle(message.trouble)) this.#fickleKeys.add(message.key)
      this.#entries.set(message.id, { ...message, place: this.#entries.size, wire: null, end: 'waiting', blocks: false })
    }
  }

  /** The log has taken this record. */
  sent(record: LogRecord): void {
    const id = idOf(record)
    const entry = this.#entries.get(id)
    if (entry === undefined) return this.violate(`P1: ${id} is on the wire, and was never committed`)
    this.#records += 1
    if (entry.wire !== null) return
    entry.wire = this.#records
    if (entry.key !== null && !entry.foreign) this.#rises(this.#lastOnWire, entry, 'is on the wire')
  }

  tookOver(partition: PartitionRef, epoch: number, process: string): void {
    this.#owners.set(nameOf(partition), { epoch, process })
  }

  /** A handler's effect has committed, as the next one of its batch. */
  effect(lane: LaneRef, id: string, process: string, batch: object): void {
    const entry = this.#entries.get(id)
    if (entry === undefined) return this.violate(`P1: ${process} handled ${id}, which was never committed`)
    if (entry.end !== 'waiting' && !mayComeAgain(entry))
      this.violate(`P3: ${process} handled ${id} in lane ${lane.lane}, which was ${entry.end} before`)
    this.#mayBeHandled(entry)
    this.#isFree(entry)
    if (!this.#isLoose && entry.key !== null && this.#waitingOf(entry.key).size > 0)
      this.violate(`P2: ${id} took effect although others of ${entry.key} wait`)
    entry.end = 'handled'
    // Of a foreign one any copy may have been the handled one.
    const wire = entry.foreign || entry.wire === null ? Number.POSITIVE_INFINITY : entry.wire
    // Also those of different keys: the outcome of a batch is that of running it one by one, but for what failed in it and was run again behind the others.
    if (!this.#isLoose && !this.#fickleKeys.has(entry.key) && (this.#lastOfBatch.get(batch) ?? 0) > wire)
      this.violate(`${id} took effect after a later message of its batch`)
    if (wire < Number.POSITIVE_INFINITY) this.#lastOfBatch.set(batch, wire)
    if (entry.key !== null) this.#takesEffect(entry, 'took effect')
  }

  /** A retrier's handler has an effect, in a transaction that commits. */
  retried(id: string, process: string): void {
    const entry = this.#entries.get(id)
    if (entry === undefined || (entry.end !== 'parked' && !mayComeAgain(entry)))
      return this.violate(`P3: ${process} tried ${id} again, which is ${entry?.end ?? 'unknown'}`)
    this.#mayBeHandled(entry)
    this.#isFree(entry)
    if (entry.key !== null && !this.#isLoose) {
      const before = [...this.#waitingOf(entry.key)].find((other) => other.place < entry.place && other.wire !== null)
      if (before !== undefined) this.violate(`P2: ${id} took effect, and ${before.id} of its key is ${before.end} before it`)
    }
    this.#leave(entry, 'handled')
  }

  /** A retrier has taken these out of the queue: each took effect in the same transaction, or is a repeat of one that did. */
  removed(records: readonly LogRecord[], process: string): void {
    for (const record of records) {
      const entry = this.#entries.get(idOf(record))
      if (entry?.end !== 'handled' && entry?.foreign !== true) this.violate(`P1: ${process} removed ${idOf(record)} without its effect`)
    }
  }

  /** A retrier has given a message up. */
  buried(letter: DeadLetter): void {
    this.#died(letter, 'parked')
  }

  /** An operator holds a key, by its name here: nothing of it takes effect. */
  held(key: string): void {
    this.#held.add(key)
  }

  /** He is about to let it go. */
  released(key: string): void {
    this.#held.delete(key)
  }

  /** An operator has had a letter redriven. */
  redriven(id: string): void {
    const entry = this.#entries.get(id)
    // A stranger's other copies may be anywhere; the redriven one is found out when it is tried.
    if (entry?.foreign === true && entry.end !== 'dead') return
    if (entry?.end !== 'dead') return this.violate(`P4: ${id} was redriven, and is ${entry?.end ?? 'unknown'}`)
    entry.end = 'parked'
    entry.blocks = false
    if (entry.key !== null) this.#waitingOf(entry.key).add(entry)
  }

  /** An operator has given a letter up for good. */
  discarded(id: string): void {
    const entry = this.#entries.get(id)
    if (entry?.foreign === true && entry.end !== 'dead') return
    if (entry?.end !== 'dead') return this.violate(`P4: ${id} was discarded, and is ${entry?.end ?? 'unknown'}`)
    entry.blocks = false
    this.#leave(entry, 'discarded')
  }

  /** Its handler works from now on. */
  mended(id: string): void {
    this.#mended.add(id)
  }

  /** It has failed for now, and may run behind others of its batch, with those of its key. */
  runsAgain(id: string): void {
    this.#fickleKeys.add(this.#entries.get(id)?.key ?? null)
  }

  isMended(id: string): boolean {
    return this.#mended.has(id)
  }

  /** A batch has committed. */
  committed(lane: LaneRef, { position, deadLetters, park, queue }: BatchEnd, process: string): void {
    const owner = this.#owners.get(nameOf(lane))
    if (owner !== undefined && (position.epoch < owner.epoch || process !== owner.process)) {
      this.violate(`${process} committed with epoch ${position.epoch} after ${owner.process} had taken over with ${owner.epoch}`)
    }
    const events = [
      ...park.map(({ record }) => ({ record, letter: null })),
      ...queue.map((record) => ({ record, letter: null })),
      ...deadLetters.map((letter) => ({ record: letter.record, letter })),
    ].sort((a, b) => a.record.offset - b.record.offset)
    for (const { record, letter } of events) {
      if (letter === null) this.#parked(idOf(record))
      else this.#died(letter, 'waiting')
    }
  }

  /** Messages that are not where they have to come to in the end. */
  unsettled(): readonly string[] {
    const found: string[] = []
    for (const { id, wire, end, routed, echo } of this.#entries.values()) {
      if (wire === null) found.push(`${id} is not on the wire`)
      else if (routed && end === 'waiting') found.push(`${id} is neither handled, nor dead, nor parked`)
      else if (end === 'parked' && !this.#isBlocked(id)) found.push(`${id} is parked, and nothing blocks its key`)
      if (echo !== null && end === 'handled' && !this.#entries.has(echo)) this.violate(`P3: ${id} was handled without its ${echo}`)
    }
    return found
  }

  /** Of messages that are given up, and were not discarded. */
  get dead(): readonly string[] {
    return [...this.#entries.values()].filter(({ end }) => end === 'dead').map(({ id }) => id)
  }

  #mayBeHandled({ id, trouble }: Entry): void {
    if ((trouble === 'poison' || trouble === 'unreadable' || trouble === 'deadly') && !this.#mended.has(id))
      this.violate(`${id} took effect although its handler fails`)
  }

  #isBlocked(id: string): boolean {
    const entry = this.#entries.get(id)!
    return entry.key !== null && [...this.#waitingOf(entry.key)].some(({ blocks, place }) => blocks && place < entry.place)
  }

  #parked(id: string): void {
    const entry = this.#entries.get(id)
    // A stranger's repeat waits behind its first copy, and is found out when it is tried.
    if (entry?.foreign === true && entry.end !== 'waiting') return
    if (entry === undefined || entry.end !== 'waiting')
      return this.violate(`P3: ${id} was parked, and was ${entry?.end ?? 'unknown'} before`)
    entry.end = 'parked'
    if (entry.key === null) return
    this.#waitingOf(entry.key).add(entry)
    this.#takesEffect(entry, 'was parked')
  }

  #died({ record, policy, reason, errorClass, attempts }: DeadLetter, from: 'waiting' | 'parked'): void {
    const id = idOf(record)
    const entry = this.#entries.get(id)
    const isCrash = errorClass === 'PROCESS_CRASHED'
    // The repeat of a stranger's message may be given up, whatever became of its first copy.
    if (entry?.foreign === true && entry.end !== from && (isCrash || this.#isLoose)) return
    if (entry === undefined || entry.end !== from) return this.violate(`P4: ${id} was given up, and was ${entry?.end ?? 'unknown'} before`)
    // Charged first beside others that succeeded, right as an outage began: nothing tells it from a message that fails so by itself.
    const isOfTheEdge = attempts.length > 1 && attempts.every(({ error }) => error.includes(awayReason))
    // Processes that end by chance while they handle a message cannot be told from those that it ends.
    const isBlamed = isCrash ? entry.trouble === 'deadly' || !this.#blamesExactly : mayDie(entry.trouble) && !this.#mended.has(id)
    if (!isBlamed && !isOfTheEdge) this.violate(`P4: ${id} was given up, and nothing is wrong with it: ${reason}`)
    if (reason.includes(awayReason) && !isOfTheEdge) this.violate(`P4: ${id} was given up for an outage`)
    this.#leave(entry, 'dead')
    if (entry.key === null) return
    if (from === 'waiting') this.#takesEffect(entry, 'was given up')
    if (policy === 'skip') return
    entry.blocks = true
    this.#waitingOf(entry.key).add(entry)
  }

  #leave(entry: Entry, end: Entry['end']): void {
    entry.end = end
    if (entry.key !== null) this.#waitingOf(entry.key).delete(entry)
  }

  #waitingOf(key: string): Set<Entry> {
    const waiting = this.#waiting.get(key) ?? new Set<Entry>()
    this.#waiting.set(key, waiting)
    return waiting
  }

  /** In a retry topic, which is another one, nobody holds its key. */
  #isFree({ id, key }: Entry): void {
    if (key !== null && !this.#isLoose && this.#held.has(key)) this.violate(`P2: ${id} took effect while ${key} was held`)
  }

  #takesEffect(entry: Entry, what: string): void {
    if (!this.#isLoose) this.#rises(this.#lastEffect, entry, what)
  }

  #rises(last: Map<string, number>, { id, key, place }: Entry, what: string): void {
    if (key === null) return
    if ((last.get(key) ?? -1) > place) this.violate(`P2: ${id} ${what} after a later message of ${key}`)
    last.set(key, place)
  }
}

/** What handlers say while what they need is away. */
export const awayReason = 'what the handler needs is away'

/** Such a message may use up its attempts. */
function mayDie(trouble: Trouble): boolean {
  return trouble === 'poison' || trouble === 'unreadable' || trouble === 'flaky' || trouble === 'hanging'
}

function isFickle(trouble: Trouble): boolean {
  return trouble === 'flaky' || trouble === 'later' || trouble === 'hanging'
}

/** A stranger's copy of a message that was given up is another try of it, and so is one without a key beside another one that waits. */
function mayComeAgain({ foreign, key, end }: Entry): boolean {
  return foreign && (end === 'dead' || end === 'discarded' || (end === 'parked' && key === null))
}

export function idOf({ headers }: LogRecord): string {
  return String(headers.find(([name]) => name === 'id')?.[1])
}

function nameOf({ topic, partition }: PartitionRef): string {
  return `${topic}/${partition}`
}
