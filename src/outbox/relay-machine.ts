import { TidemarkError } from '../errors.ts'
import { type Backoff, backoffMs } from '../internal/backoff.ts'
import type { Coordinate } from '../message/coordinate.ts'
import type { Refusal, SequencedRecord, StreamClaim } from '../message/port.ts'
import type { OutboxPage, Probed, RefusedRow, RelayState, Tick } from './port.ts'
import { prepare, unknownTopics, withoutRefused } from './records.ts'
import { newerOwnerError, restoredError } from './restored.ts'

/** What the machine wants done. One command at a time; its outcome is the next event. */
export type RelayCommand =
  | { readonly kind: 'take-over' }
  | { readonly kind: 'open-appender'; readonly claim: StreamClaim }
  | { readonly kind: 'ask-epoch' }
  | { readonly kind: 'probe'; readonly cur: string }
  | { readonly kind: 'tick'; readonly even: boolean }
  | { readonly kind: 'page'; readonly tick: Tick; readonly after: string }
  | { readonly kind: 'describe-topics'; readonly names: readonly string[] }
  | { readonly kind: 'park'; readonly tick: Tick; readonly refused: readonly RefusedRow[] }
  | SendCommand
  | { readonly kind: 'checkpoint'; readonly tick: Tick; readonly page: OutboxPage }
  | { readonly kind: 'rest'; readonly ms: number }
  /** Gives connection and appender back, then waits. */
  | { readonly kind: 'reconnect'; readonly ms: number }
  | { readonly kind: 'end'; readonly error: TidemarkError | null }

/** Sends. Meanwhile notes `checkpoint`, the page sent before, and then reads the page after `prefetch`; neither where it is `null`. */
export interface SendCommand {
  readonly kind: 'send'
  readonly records: readonly SequencedRecord[]
  readonly tick: Tick
  readonly checkpoint: OutboxPage | null
  readonly prefetch: string | null
}

/** What came of it. `failed` may answer any command: its outcome is unknown. */
export type RelayEvent =
  | { readonly kind: 'taken'; readonly state: RelayState | null }
  | { readonly kind: 'opened'; readonly last: Coordinate | null }
  | { readonly kind: 'epoch'; readonly ours: boolean }
  | { readonly kind: 'probed'; readonly probed: Probed }
  | { readonly kind: 'ticked'; readonly result: { readonly cur: string; readonly tick: Tick | null } | 'nothing' | 'fenced' }
  | { readonly kind: 'paged'; readonly page: OutboxPage }
  | { readonly kind: 'described'; readonly topics: ReadonlyMap<string, number | { readonly refused: string }> }
  | { readonly kind: 'parked'; readonly owned: boolean }
  /** `owned`: the checkpoint made meanwhile found the stream to be ours still. */
  | { readonly kind: 'sent'; readonly refusals: readonly Refusal[]; readonly owned: boolean; readonly next: OutboxPage | null }
  | { readonly kind: 'checked'; readonly owned: boolean }
  | { readonly kind: 'rested'; readonly woken: boolean }
  | { readonly kind: 'reconnected' }
  | { readonly kind: 'failed'; readonly error: unknown }

/** What is worth telling. */
export type RelayNotice =
  | { readonly kind: 'taken-over'; readonly epoch: number; readonly tick: number; readonly unfinished: boolean }
  | { readonly kind: 'standing-by' }
  | { readonly kind: 'published'; readonly tick: number; readonly count: number }
  | { readonly kind: 'parked'; readonly refused: readonly RefusedRow[] }
  | { readonly kind: 'fenced' }
  | { readonly kind: 'failed'; readonly error: unknown; readonly retryInMs: number }

export interface MachineSettings {
  readonly maxRecordBytes: number
  /** Rest between two looks after the last found nothing: doubles from 1 ms up to this. */
  readonly idleMs: number
  /** How often a relay without a stream looks whether it may have it. */
  readonly standbyMs: number
  readonly backoff: Backoff
  readonly whenFenced: 'stand-by' | 'stop'
  readonly random: () => number
  readonly notice: (notice: RelayNotice) => void
}

/** A stream without rows moves its snapshot after so many transactions: its probe walks the rows behind it, and old partitions wait for it. */
const evenAfterTransactions = 10_000
/** …and at least after so many looks that found nothing, which at the longest rest is about a minute. */
const evenAfterProbes = 1_200

/**
 * The polling relay of one stream, without I/O: take over → open the broker's appender → compare the wire → finish the unfinished tick →
 * probe → tick → page → send → checkpoint → page … → probe. After any failure it begins at the take-over, which is why every step is safe to
 * repeat. Source of the steps and their order: `docs/design/outbox-relay.md`.
 */
export class RelayMachine {
  readonly #settings: MachineSettings
  #state: RelayState | null = null
  #topics = new Map<string, number | { readonly refused: string }>()
  #cur = ''
  #tick: Tick | null = null
  /** Everything of the tick up to here is published. */
  #done = ''
  #page: OutboxPage | null = null
  #next: OutboxPage | null = null
  /** What to end with, if the stream is still ours. */
  #suspicion: TidemarkError | null = null
  #idleProbes = 0
  #restMs = 0
  #failures = 0
  #parkedAfterSend = false
  #standing = false
  #stopping: 'no' | 'asked' | 'last-tick' = 'no'

  constructor(settings: MachineSettings) {
    this.#settings = settings
  }

  /** The first command. */
  start(): RelayCommand {
    return { kind: 'take-over' }
  }

  /** From now on: finish the tick under way, publish what is committed by one more tick, and end. */
  stop(): void {
    if (this.#stopping === 'no') this.#stopping = 'asked'
  }

  /** The command that follows an event. */
  step(event: RelayEvent): RelayCommand {
    switch (event.kind) {
      case 'taken':
        return this.#taken(event.state)
      case 'opened':
        return this.#opened(event.last)
      case 'epoch':
        return event.ours ? { kind: 'end', error: this.#suspicion } : this.#fenced()
      case 'probed':
        return this.#probed(event.probed)
      case 'ticked':
        return this.#ticked(event.result)
      case 'paged':
        return this.#paged(event.page)
      case 'described':
        for (const [name, found] of event.topics) this.#topics.set(name, found)
        return this.#paged(this.#page!)
      case 'parked':
        return event.owned ? this.#parked() : this.#fenced()
      case 'sent':
        return event.owned ? this.#sent(event.refusals, event.next) : this.#fenced()
      case 'checked':
        return event.owned ? this.#checked() : this.#fenced()
      case 'rested':
        return this.#rested(event.woken)
      case 'reconnected':
        return this.#stopping === 'no' ? { kind: 'take-over' } : { kind: 'end', error: null }
      case 'failed':
        return this.#failed(event.error)
    }
  }
  #taken(state: RelayState | null): RelayCommand {
    if (state === null) return this.#standBy()
    this.#standing = false
    this.#state = state
    this.#cur = state.cur
    this.#tick = state.unfinished
    this.#done = state.unfinished?.doneSeq ?? ''
    const { sourceEpoch, generation, stream, epoch, topics } = state
    return { kind: 'open-appender', claim: { sourceEpoch, generation, stream, epoch, topics } }
  }

  #standBy(): RelayCommand {
    if (this.#stopping !== 'no') return { kind: 'end', error: null }
    if (!this.#standing) this.#settings.notice({ kind: 'standing-by' })
    this.#standing = true
    this.#state = null
    return { kind: 'rest', ms: this.#settings.standbyMs }
  }

  #opened(last: Coordinate | null): RelayCommand {
    const state = this.#state!
    const error = restoredError(state, last)
    // Where the broker does not fence, a successor may have sent it since our take-over: then the epoch is not ours any more.
    if (error !== null) return this.#suspect(error)
    this.#settings.notice({ kind: 'taken-over', epoch: state.epoch, tick: state.tick, unfinished: this.#tick !== null })
    return this.#tick === null ? this.#look() : this.#read()
  }

  /** Nothing of a tick is left: is there more? */
  #look(): RelayCommand {
    if (this.#stopping === 'last-tick') return { kind: 'end', error: null }
    if (this.#stopping === 'no') return { kind: 'probe', cur: this.#cur }
    this.#stopping = 'last-tick'
    return { kind: 'tick', even: false }
  }

  #probed({ rows, passed }: Probed): RelayCommand {
    this.#failures = 0
    if (rows) return { kind: 'tick', even: false }
    this.#idleProbes += 1
    const even = passed >= evenAfterTransactions || (passed > 0 && this.#idleProbes >= evenAfterProbes)
    return even ? { kind: 'tick', even } : this.#rest()
  }

  #ticked(result: Extract<RelayEvent, { kind: 'ticked' }>['result']): RelayCommand {
    if (result === 'fenced') return this.#fenced()
    if (result === 'nothing') return this.#stopping === 'no' ? this.#rest() : this.#look()
    this.#idleProbes = 0
    // A topic that was refused may have been made meanwhile.
    for (const [name, found] of this.#topics) if (typeof found !== 'number') this.#topics.delete(name)
    this.#cur = result.cur
    this.#tick = result.tick
    if (result.tick === null) return this.#stopping === 'no' ? this.#rest() : this.#look()
    this.#restMs = 0
    this.#done = result.tick.doneSeq
    return this.#read()
  }

  #read(): RelayCommand {
    return { kind: 'page', tick: this.#tick!, after: this.#done }
  }

  #paged(page: OutboxPage): RelayCommand {
    this.#page = page
    const names = unknownTopics(page, this.#topics)
    if (names.length > 0) return { kind: 'describe-topics', names }
    const tick = this.#tick!
    const { records, refused } = prepare(page, this.#state!, tick, this.#topics, this.#settings.maxRecordBytes)
    // Parked first and read again: the rows behind a refused one of its key must not be sent before it.
    if (refused.length > 0) return this.#park(refused)
    if (records.length === 0) return { kind: 'checkpoint', tick, page }
    return { kind: 'send', records, tick, checkpoint: null, prefetch: page.full ? page.last : null }
  }

  #park(refused: readonly RefusedRow[]): RelayCommand {
    this.#settings.notice({ kind: 'parked', refused })
    return { kind: 'park', tick: this.#tick!, refused }
  }

  #sent(refusals: readonly Refusal[], next: OutboxPage | null): RelayCommand {
    const page = this.#page!
    const tick = this.#tick!
    this.#settings.notice({ kind: 'published', tick: tick.tick, count: page.rows.length - refusals.length })
    this.#next = next
    this.#failures = 0
    if (refusals.length === 0) return this.#sendNext() ?? { kind: 'checkpoint', tick, page }
    // The page read meanwhile knows nothing of the keys parked now. What was sent of this page must not be held, so it is not read again.
    this.#next = null
    const rest = withoutRefused(page, refusals)
    this.#page = rest.page
    this.#parkedAfterSend = true
    return this.#park(rest.refused)
  }

  /**
   * The page read ahead leaves at once, and the one before it is noted meanwhile. `null`: there is none, or it needs more than to be sent. A crash before
   * the note repeats both pages, which is what a checkpoint that was lost with the server does, too.
   */
  #sendNext(): SendCommand | null {
    const [page, next, tick] = [this.#page!, this.#next, this.#tick!]
    if (next === null || unknownTopics(next, this.#topics).length > 0) return null
    const { records, refused } = prepare(next, this.#state!, tick, this.#topics, this.#settings.maxRecordBytes)
    if (refused.length > 0 || records.length === 0) return null
    this.#page = next
    this.#next = null
    this.#done = page.last
    return { kind: 'send', records, tick, checkpoint: page, prefetch: next.full ? next.last : null }
  }

  #parked(): RelayCommand {
    if (!this.#parkedAfterSend) return this.#read()
    this.#parkedAfterSend = false
    return { kind: 'checkpoint', tick: this.#tick!, page: this.#page! }
  }

  #checked(): RelayCommand {
    const { full, last } = this.#page!
    const next = this.#next
    this.#next = null
    this.#failures = 0
    this.#done = last
    if (full) return next === null ? this.#read() : this.#paged(next)
    this.#tick = null
    return this.#look()
  }

  #rest(): RelayCommand {
    this.#restMs = Math.min(this.#settings.idleMs, Math.max(1, this.#restMs * 2))
    return { kind: 'rest', ms: this.#restMs }
  }

  #rested(woken: boolean): RelayCommand {
    if (this.#state === null) return this.#stopping === 'no' ? { kind: 'take-over' } : { kind: 'end', error: null }
    if (!woken || this.#stopping !== 'no') return this.#look()
    // Whoever woke us committed something: the tick finds it without a probe.
    this.#restMs = 0
    return { kind: 'tick', even: false }
  }

  #fenced(): RelayCommand {
    this.#settings.notice({ kind: 'fenced' })
    if (this.#settings.whenFenced === 'stop') {
      return { kind: 'end', error: new TidemarkError('RELAY_FENCED', `A newer relay has taken over stream ${this.#state?.stream ?? 0}.`) }
    }
    return this.#reconnect(0)
  }

  #failed(error: unknown): RelayCommand {
    if (TidemarkError.is(error, 'RELAY_FENCED')) return this.#fenced()
    // Either a successor is at work, which the database knows, or the database is older than the broker's memory of its owner.
    if (TidemarkError.is(error, 'BROKER_FENCED') && this.#state !== null) {
      return this.#suspect(newerOwnerError(this.#state, error))
    }
    if (TidemarkError.is(error) && !error.retryable && fatal.has(error.code)) return { kind: 'end', error }
    this.#failures += 1
    const ms = backoffMs(this.#settings.backoff, this.#failures, this.#settings.random())
    this.#settings.notice({ kind: 'failed', error, retryInMs: ms })
    return this.#reconnect(ms)
  }

  #suspect(error: TidemarkError): RelayCommand {
    this.#suspicion = error
    return { kind: 'ask-epoch' }
  }

  #reconnect(ms: number): RelayCommand {
    this.#state = null
    this.#tick = null
    this.#page = null
    this.#next = null
    this.#parkedAfterSend = false
    this.#restMs = 0
    // Partitions of a topic may have been added while we were away.
    this.#topics = new Map()
    return { kind: 'reconnect', ms }
  }
}

/** What no later try can change. Everything else, errors we do not know included, is tried again. */
const fatal: ReadonlySet<string> = new Set([
  'CONFIG_INVALID',
  'BROKER_CLOSED',
  'SCHEMA_MISSING',
  'SCHEMA_TOO_NEW',
  'RELAY_RESTORED_DATABASE',
])
