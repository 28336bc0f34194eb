import { TidemarkError } from '../../errors.ts'
import { RisingWater } from '../../inbox/high-water.ts'
import type { HighWater } from '../../inbox/high-water.ts'
import type { Coordinate } from '../../message/coordinate.ts'
import { decodeMessage } from '../../message/decode-message.ts'
import { isPromiseLike } from '../../message/eventual.ts'
import type { Message } from '../../message/message.ts'
import type { LogRecord } from '../../message/port.ts'
import type { EnvelopeOptions } from '../../message/read-envelope.ts'
import type { RetryTopics } from '../../retry/retry-topics.ts'
import type { BatchOrder } from './batch-order.ts'
import type { Entry } from './entry.ts'
import type { Handler, Routes } from '../handler.ts'
import { unhandled } from './unhandled.ts'
import { inboxIdOf, readEntry, senderPlace } from './read-entry.ts'

/** A message to be handled. */
export interface Task {
  readonly entry: Entry
  readonly handler: Handler
  readonly message: Message
  /** What the inbox knows it by; `null` when its position or the high water already says whether it was handled, or a repeat does no harm. */
  readonly inboxId: string | null
}

/** A message that cannot be handled, whoever tries: it goes to the dead letters, and the batch ends with it. */
export interface Hopeless {
  readonly entry: Entry
  readonly handler: Handler | null
  readonly error: unknown
}

/** What is to be done with each message of a batch. Perhaps only with a first part of them. */
export interface Plan {
  readonly tasks: readonly Task[]
  /** Messages of parked keys. */
  readonly queue: readonly LogRecord[]
  readonly hopeless: Hopeless | null
  readonly highWater: HighWater
  readonly nextOffset: number
  readonly skippedTypes: ReadonlyMap<string, number>
  readonly repeats: { readonly highWater: number; readonly batch: number }
}

export interface PlanSettings {
  readonly routes: Routes
  readonly envelope: EnvelopeOptions
  readonly retryTopics: RetryTopics
}

/** Reads and decodes the messages of a batch, and sorts them by what is to be done with them. */
export async function planBatch(order: BatchOrder, settings: PlanSettings): Promise<Plan> {
  const planning = new Planning(order, settings)
  for (const entry of order.entries) {
    const more = planning.take(entry)
    if ((isPromiseLike(more) ? await more : more) === 'full') break
  }
  return planning.plan()
}

type Step = 'more' | 'full'

/** A message that nobody has handled yet, with who is to. */
interface Found extends Pick<Task, 'entry' | 'handler' | 'inboxId'> {
  readonly coordinate: Coordinate | null
}

class Planning {
  readonly #order: BatchOrder
  readonly #settings: PlanSettings
  readonly #water: RisingWater
  readonly #tasks: Task[] = []
  readonly #queue: LogRecord[] = []
  readonly #identities = new Set<string>()
  readonly #skipped = new Map<string, number>()
  #hopeless: Hopeless | null = null
  #repeatsInStream = 0
  #repeatsInBatch = 0
  #taken = 0

  constructor(order: BatchOrder, settings: PlanSettings) {
    this.#order = order
    this.#settings = settings
    this.#water = new RisingWater(order.position.highWater)
  }

  take(entry: Entry): Step | Promise<Step> {
    const { record } = entry
    const envelope = readEntry(entry, this.#settings)
    const handler = this.#settings.routes.find(record.topic, envelope.type)
    if (handler === undefined) {
      if (envelope.type === null && envelope.undecodable !== undefined) {
        if (this.#waits(record)) return this.#wait(record, null)
        return this.#bury({ entry, handler: null, error: envelope.undecodable }, null)
      }
      // It was ours when it was passed on. Others may wait there for nobody.
      if (entry.earlier?.known === true) return this.#bury({ entry, handler: null, error: unhandled(envelope.type, entry.original) }, null)
      this.#skipped.set(envelope.type ?? '', (this.#skipped.get(envelope.type ?? '') ?? 0) + 1)
      return this.#took(null)
    }
    if (handler.transaction === 'message' && this.#tasks.length > 0) return 'full'
    const coordinate = senderPlace(entry, envelope)
    if (coordinate !== null && this.#water.covers(coordinate)) {
      this.#repeatsInStream += 1
      return this.#took(null)
    }
    if (this.#waits(record)) return this.#wait(record, coordinate)
    const inboxId = inboxIdOf(entry, envelope, handler)
    if (inboxId !== null && this.#identities.has(inboxId)) {
      this.#repeatsInBatch += 1
      return this.#took(coordinate)
    }
    return this.#decode({ entry, handler, inboxId, coordinate })
  }

  /** Its key waits, and it behind it. */
  #waits({ key }: LogRecord): boolean {
    return this.#order.parked.size > 0 && key !== null && this.#order.parked.has(key.toString('base64'))
  }

  #wait(record: LogRecord, coordinate: Coordinate | null): Step {
    this.#queue.push(record)
    return this.#took(coordinate)
  }

  #decode(found: Found): Step | Promise<Step> {
    const { entry, handler } = found
    // It has failed often enough, and is not run again.
    if (this.#order.verdict !== null) return this.#bury({ entry, handler, error: null }, found.coordinate)
    if (entry.message !== null) return this.#add(found, entry.message)
    try {
      const message = decodeMessage(entry.envelope!, handler.definition)
      if (!isPromiseLike(message)) return this.#add(found, message)
      return message.then(
        (decoded) => this.#add(found, decoded),
        (error: unknown) => this.#undecoded(found, error),
      )
    } catch (error) {
      return this.#undecoded(found, error)
    }
  }

  /** What the codec needs may be away: then what precedes the message is done, and it is not taken, but the head of the next batch. Nobody is charged. */
  #undecoded({ entry, handler, coordinate }: Found, error: unknown): Step {
    if (!TidemarkError.is(error) || !error.retryable) return this.#bury({ entry, handler, error }, coordinate)
    if (this.#taken === 0) throw error
    return 'full'
  }

  #add({ entry, handler, inboxId, coordinate }: Found, message: Message): Step {
    entry.message = message
    if (inboxId !== null) this.#identities.add(inboxId)
    this.#tasks.push({ entry, handler, message, inboxId })
    this.#took(coordinate)
    return handler.transaction === 'message' ? 'full' : 'more'
  }

  #bury(hopeless: Hopeless, coordinate: Coordinate | null): Step {
    this.#hopeless = hopeless
    this.#took(coordinate)
    return 'full'
  }

  /** Only now the mark of its stream rises: a message below it that was left for the next batch would be taken for a repeat there. */
  #took(coordinate: Coordinate | null): Step {
    if (coordinate !== null) this.#water.rise(coordinate)
    this.#taken += 1
    return 'more'
  }

  plan(): Plan {
    const next = this.#order.entries[this.#taken]
    return {
      tasks: this.#tasks,
      queue: this.#queue,
      hopeless: this.#hopeless,
      highWater: this.#water.marks,
      nextOffset: next === undefined ? this.#order.nextOffset : next.record.offset,
      skippedTypes: this.#skipped,
      repeats: { highWater: this.#repeatsInStream, batch: this.#repeatsInBatch },
    }
  }
}
