import { TidemarkError } from '../errors.ts'
import { crashPoint } from '../internal/crash-point.ts'
import { deferred } from '../internal/deferred.ts'
import type { Appender, StreamClaim } from '../message/port.ts'
import type { Maintenance, OutboxPage, RelayStream, Tick } from './port.ts'
import { type RelayCommand, type RelayEvent, RelayMachine, type RelayNotice, type SendCommand } from './relay-machine.ts'
import type { RelaySettings, RelayStatus } from './relay.ts'
import { Rest } from './rest.ts'

/**
 * From `stop` on the broker gets so long for each answer: a consumer's default `drainMs`. In an outage a page is given back then, and the next owner sends
 * it. Shorter, and a slow broker would make a clean stop end in repeats; longer, and whoever stops a process kills it first.
 */
const stopPatienceMs = 5_000

/** Carries out the commands of the machine on store and broker, one after the other, and tells the others that the owner lives. */
export class RelayRun {
  readonly #settings: RelaySettings
  readonly #machine: RelayMachine
  readonly #rest: Rest
  #stream: RelayStream | null = null
  #appender: Appender | null = null
  #maintenance: Maintenance | null = null
  #endBeat: () => void = () => undefined
  #stopped = false
  /** Told of `stop` while an answer of the broker is waited for. */
  #onStop: () => void = () => undefined
  /** When the last call began that found the stream to be ours, by the clock's `elapsed`. */
  #ownedAt = 0
  /** The beat found another owner. */
  #superseded = false
  #status: RelayStatus = { phase: 'starting', epoch: null, tick: null, published: 0, error: null }

  constructor(settings: RelaySettings) {
    const { broker, clock, idleMs, leaseMs, whenFenced } = settings
    this.#settings = settings
    this.#rest = new Rest(clock)
    this.#machine = new RelayMachine({
      maxRecordBytes: broker.traits.maxRecordBytes,
      idleMs,
      // Often enough that a clean stop is followed "at once", rarely enough to cost nothing.
      standbyMs: Math.min(500, Math.ceil(leaseMs / 4)),
      backoff: { firstMs: 50, maxMs: 5_000 },
      whenFenced,
      random: () => clock.random(),
      notice: (notice) => this.#notice(notice),
    })
  }

  /** Resolves when the machine has ended after `stop`, rejects with the error it ended by. */
  async run(): Promise<void> {
    let command = this.#machine.start()
    while (command.kind !== 'end') {
      const event = await this.#outcome(command)
      command = this.#machine.step(event)
    }
    await this.#giveBack('stopped')
    this.#status = { ...this.#status, phase: 'stopped', error: command.error }
    if (command.error !== null) throw command.error
  }

  stop(): void {
    this.#machine.stop()
    this.#rest.end()
    if (this.#stopped) return
    this.#stopped = true
    this.#onStop()
  }

  wake(): void {
    if (this.#status.phase === 'owner') this.#rest.wake()
  }

  status(): RelayStatus {
    return this.#status
  }

  async #outcome(command: Exclude<RelayCommand, { kind: 'end' }>): Promise<RelayEvent> {
    if (this.#superseded) {
      this.#superseded = false
      return { kind: 'failed', error: new TidemarkError('RELAY_FENCED', 'Another relay was found to own the stream.') }
    }
    try {
      return await this.#carryOut(command)
    } catch (error) {
      return { kind: 'failed', error }
    }
  }

  async #carryOut(command: Exclude<RelayCommand, { kind: 'end' }>): Promise<RelayEvent> {
    switch (command.kind) {
      case 'take-over':
        return this.#takeOver()
      case 'open-appender': {
        await this.#appender?.close()
        this.#appender = await this.#openAppender(command.claim)
        crashPoint('relay:after-broker-read')
        return { kind: 'opened', last: this.#appender.last }
      }
      case 'ask-epoch':
        return { kind: 'epoch', ours: await this.#stream!.beat() }
      case 'probe': {
        const probed = await this.#stream!.probe(command.cur)
        crashPoint('relay:after-probe')
        return { kind: 'probed', probed }
      }
      case 'tick': {
        crashPoint('relay:before-tick')
        const result = await this.#asOwner(() => this.#stream!.tick(command.even))
        if (typeof result !== 'string' && result.tick !== null) crashPoint('relay:after-tick')
        return { kind: 'ticked', result }
      }
      case 'page': {
        const page = await this.#readPage(command.tick, command.after)
        crashPoint('relay:after-page')
        return { kind: 'paged', page }
      }
      case 'describe-topics':
        return { kind: 'described', topics: await this.#describe(command.names) }
      case 'park': {
        const owned = await this.#stream!.park(command.tick, command.refused)
        crashPoint('relay:after-park')
        return { kind: 'parked', owned }
      }
      case 'send':
        return this.#send(command)
      case 'checkpoint':
        return { kind: 'checked', owned: await this.#checkpoint(command.tick, command.page) }
      case 'rest':
        return { kind: 'rested', woken: await this.#rest.for(command.ms) }
      case 'reconnect':
        await this.#giveBack('broken')
        await this.#rest.forAll(command.ms)
        return { kind: 'reconnected' }
    }
  }

  async #takeOver(): Promise<RelayEvent> {
    const { store, stream, owner, leaseMs } = this.#settings
    this.#stream ??= await store.openStream(stream)
    const state = await this.#asOwner(() => this.#stream!.takeOver({ owner, leaseMs }))
    if (state === null) return { kind: 'taken', state }
    crashPoint('relay:after-take-over')
    this.#beatEvery(leaseMs / 3)
    return { kind: 'taken', state }
  }

  async #openAppender(claim: StreamClaim): Promise<Appender> {
    const opening = this.#settings.broker.appender(claim)
    try {
      return await this.#answered(opening)
    } catch (error) {
      // It may still come.
      void opening.then((late) => late.close()).catch(() => undefined)
      throw error
    }
  }

  /** What the broker answers. Rejects when it takes too long after `stop`. */
  async #answered<T>(answer: Promise<T>): Promise<T> {
    const late = deferred<never>()
    let cancel = (): void => undefined
    this.#onStop = () => {
      cancel = this.#settings.clock.after(stopPatienceMs, () => {
        late.reject(new TidemarkError('BROKER_UNREACHABLE', `The broker did not answer within ${stopPatienceMs} ms after the stop.`))
      })
    }
    if (this.#stopped) this.#onStop()
    try {
      return await Promise.race([answer, late.promise])
    } finally {
      this.#onStop = () => undefined
      cancel()
    }
  }

  #readPage(tick: Tick, after: string): Promise<OutboxPage> {
    return this.#stream!.page(tick, after, this.#settings.pageSize)
  }

  async #checkpoint(tick: Tick, page: OutboxPage): Promise<boolean> {
    const owned = await this.#asOwner(() => this.#stream!.checkpoint(tick, page))
    crashPoint('relay:after-checkpoint')
    return owned
  }

  /** A call that tells whether the stream is ours. */
  async #asOwner<T>(call: () => Promise<T>): Promise<T> {
    const began = this.#settings.clock.elapsed()
    const outcome = await call()
    if (outcome !== null && outcome !== false && outcome !== 'fenced') this.#ownedAt = began
    return outcome
  }

  /**
   * A process that stood still for longer than its lease looks whether it was succeeded before it sends. What it sends all the same, between the look and
   * the broker's fence or its readers' knowledge of coordinates, are repeats.
   */
  async #unlessSucceeded(): Promise<void> {
    if (this.#settings.clock.elapsed() - this.#ownedAt < this.#settings.leaseMs) return
    if (await this.#asOwner(() => this.#stream!.beat())) return
    throw new TidemarkError('RELAY_FENCED', 'Another relay took the stream over while this one stood still.')
  }

  async #send({ records, tick, checkpoint, prefetch }: SendCommand): Promise<RelayEvent> {
    await this.#unlessSucceeded()
    const appended = this.#answered(this.#appender!.append(records))
    const noted = checkpoint === null ? true : this.#checkpoint(tick, checkpoint)
    const next = prefetch === null ? null : this.#readPage(tick, prefetch)
    // All are awaited to the end: whichever fails, nothing of the others may still be under way when the connection is given back.
    const outcomes = Promise.allSettled([appended, noted, next])
    crashPoint('relay:mid-send')
    const [sent, owned, read] = await outcomes
    if (sent.status === 'rejected') throw sent.reason
    crashPoint('relay:after-send')
    if (owned.status === 'rejected') throw owned.reason
    if (read.status === 'rejected') throw read.reason
    return { kind: 'sent', refusals: sent.value, owned: owned.value, next: read.value }
  }

  async #describe(names: readonly string[]): Promise<Map<string, number | { refused: string }>> {
    const found = new Map<string, number | { refused: string }>()
    for (const name of names) found.set(name, await this.#describeOne(name))
    const usable = [...found].filter(([, topic]) => typeof topic === 'number').map(([name]) => name)
    // Noted before the first message, so that the next owner asks the broker about every topic that may hold one.
    if (usable.length > 0) await this.#stream!.noteTopics(usable)
    return found
  }

  async #describeOne(name: string): Promise<number | { refused: string }> {
    const { broker, topics } = this.#settings
    try {
      const [topic] = await this.#answered(broker.topics([topics.find((spec) => spec.name === name) ?? { name }]))
      return topic!.partitions
    } catch (error) {
      if (TidemarkError.is(error, 'TOPIC_UNKNOWN')) return { refused: error.message }
      throw error
    }
  }

  #beatEvery(ms: number): void {
    this.#endBeat()
    const stream = this.#stream!
    let ended = false
    const next = (): (() => void) =>
      this.#settings.clock.after(ms, () => {
        this.#asOwner(() => stream.beat()).then(
          (ours) => {
            if (ended) return
            if (ours) cancel = next()
            else this.#lose()
          },
          // The connection is gone; the command under way, or the next one, learns it too.
          () => undefined,
        )
      })
    let cancel = next()
    this.#endBeat = () => {
      ended = true
      cancel()
    }
  }

  #lose(): void {
    this.#superseded = true
    this.#rest.wake()
  }

  async #giveBack(outcome: 'stopped' | 'broken'): Promise<void> {
    this.#endBeat()
    this.#superseded = false
    const [stream, appender, maintenance] = [this.#stream, this.#appender, this.#maintenance]
    this.#stream = this.#appender = this.#maintenance = null
    await maintenance?.stop()
    await appender?.close().catch(() => undefined)
    await stream?.close(outcome)
  }

  #notice(notice: RelayNotice): void {
    const status = this.#status
    if (notice.kind === 'taken-over') {
      this.#status = { ...status, phase: 'owner', epoch: notice.epoch, tick: notice.tick, error: null }
      if (this.#settings.maintain) this.#maintenance ??= this.#settings.store.maintain?.({ onEvent: this.#settings.onEvent }) ?? null
    } else if (notice.kind === 'published') {
      this.#status = { ...status, tick: notice.tick, published: status.published + notice.count, error: null }
    } else if (notice.kind === 'standing-by' || notice.kind === 'fenced') {
      this.#status = { ...status, phase: 'stand-by', epoch: null }
    } else if (notice.kind === 'failed') {
      this.#status = { ...status, phase: 'retrying', error: notice.error }
    }
    this.#settings.onEvent(notice)
  }
}
