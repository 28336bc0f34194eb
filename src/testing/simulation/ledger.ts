import type { BatchEnd, LaneRef, PartitionRef } from '../../consumer/port.ts'
import type { LogRecord } from '../../message/port.ts'

/** What is wrong with a message, by the will of the simulation. */
export type Trouble = 'none' | 'poison' | 'flaky' | 'unreadable' | 'refused'

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
  end: 'waiting' | 'handled' | 'dead' | 'queued'
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
  /** Keys that a dead letter blocks. */
  readonly #blocked = new Set<string>()
  readonly #owners = new Map<string, { readonly epoch: number; readonly process: string }>()
  #violation: string | null = null
  #records = 0

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
      this.#entries.set(message.id, { ...message, place: this.#entries.size, wire: null, end: 'waiting' })
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
    if (entry.end !== 'waiting') this.violate(`P3: ${process} handled ${id} in lane ${lane.lane}, which was ${entry.end} before`)
    if (entry.trouble === 'poison' || entry.trouble === 'unreadable') this.violate(`${id} took effect although its handler fails`)
    if (entry.key !== null && this.#blocked.has(entry.key))
      this.violate(`P2: ${id} took effect behind a dead letter that blocks ${entry.key}`)
    entry.end = 'handled'
    // Of a foreign one any copy may have been the handled one.
    const wire = entry.foreign || entry.wire === null ? Number.POSITIVE_INFINITY : entry.wire
    // Also those of different keys: the outcome of a batch is that of running it one by one.
    if ((this.#lastOfBatch.get(batch) ?? 0) > wire) this.violate(`${id} took effect after a later message of its batch`)
    if (wire < Number.POSITIVE_INFINITY) this.#lastOfBatch.set(batch, wire)
    if (entry.key !== null) this.#rises(this.#lastEffect, entry, 'took effect')
  }

  /** A batch has committed. */
  committed(lane: LaneRef, { position, deadLetter, queue }: BatchEnd, process: string): void {
    const owner = this.#owners.get(nameOf(lane))
    if (owner !== undefined && (position.epoch < owner.epoch || process !== owner.process)) {
      this.violate(`${process} committed with epoch ${position.epoch} after ${owner.process} had taken over with ${owner.epoch}`)
    }
    for (const record of queue) this.#queued(idOf(record))
    if (deadLetter !== null) this.#died(idOf(deadLetter.record), deadLetter.policy, deadLetter.reason)
  }

  /** Messages that are not where they have to come to in the end. */
  unsettled(): readonly string[] {
    const found: string[] = []
    for (const { id, wire, end, routed, echo } of this.#entries.values()) {
      if (wire === null) found.push(`${id} is not on the wire`)
      else if (routed && end === 'waiting') found.push(`${id} is neither handled, nor dead, nor queued behind a dead letter`)
      if (echo !== null && end === 'handled' && !this.#entries.has(echo)) this.violate(`P3: ${id} was handled without its ${echo}`)
    }
    return found
  }

  #queued(id: string): void {
    const entry = this.#entries.get(id)
    if (entry === undefined || entry.end !== 'waiting')
      return this.violate(`P3: ${id} was queued, and was ${entry?.end ?? 'unknown'} before`)
    if (entry.key === null || !this.#blocked.has(entry.key)) this.violate(`P4: ${id} was queued behind a key that nothing blocks`)
    entry.end = 'queued'
    this.#rises(this.#lastEffect, entry, 'was queued')
  }

  #died(id: string, policy: 'block' | 'skip', reason: string): void {
    const entry = this.#entries.get(id)
    if (entry === undefined || entry.end !== 'waiting')
      return this.violate(`P4: ${id} was given up, and was ${entry?.end ?? 'unknown'} before`)
    if (entry.trouble === 'none' || entry.trouble === 'refused')
      this.violate(`P4: ${id} was given up, and nothing is wrong with it: ${reason}`)
    entry.end = 'dead'
    if (entry.key === null) return
    this.#rises(this.#lastEffect, entry, 'was given up')
    if (policy === 'block') this.#blocked.add(entry.key)
  }

  #rises(last: Map<string, number>, { id, key, place }: Entry, what: string): void {
    if (key === null) return
    if ((last.get(key) ?? -1) > place) this.violate(`P2: ${id} ${what} after a later message of ${key}`)
    last.set(key, place)
  }
}

export function idOf({ headers }: LogRecord): string {
  return String(headers.find(([name]) => name === 'id')?.[1])
}

function nameOf({ topic, partition }: PartitionRef): string {
  return `${topic}/${partition}`
}
