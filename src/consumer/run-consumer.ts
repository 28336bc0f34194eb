import { TidemarkError } from '../errors.ts'
import { backoffMs } from '../internal/backoff.ts'
import { pause, within } from '../internal/clock.ts'
import { deferred } from '../internal/deferred.ts'
import type { AssignmentListener, FetchPosition, Membership, TopicPartition } from '../message/port.ts'
import { channels } from '../telemetry/channels.ts'
import type { BatchSettings, ParkedNow } from './batch/batch-settings.ts'
import type { Consumer, ConsumerStatus } from './consumer.ts'
import { type ConsumerOptions, type ConsumerSettings, consumerSettings, wholeFromOne } from './consumer-options.ts'
import { failureOf } from '../retry/failure.ts'
import { Fetching } from './partition/fetching.ts'
import { Routes } from './handler.ts'
import { Optimism } from './batch/optimism.ts'
import { Partitions } from './partition/partitions.ts'
import { FirstRead } from './partition/first-read.ts'
import { Outage } from './parked/outage.ts'
import { Retrier } from './parked/retrier.ts'
import { Suspects } from './partition/suspects.ts'
import { isFatal } from './fatal.ts'
import { Tally } from './tally.ts'

/** How often the inbox is asked whether its oldest part may go. */
const forgetEveryMs = 60_000

/** How long partitions that must go wait for the broker to note their last offsets. */
const lastAdviceMs = 1_000

/**
 * Consumes the topics of the handlers' events as a member of a group: each message's effects, through `tx`, commit once, together with the
 * group's position; messages of one key in order. Starts at once and goes on through outages of database and broker until `stop`.
 */
export function runConsumer(options: ConsumerOptions): Consumer {
  const settings = consumerSettings(options)
  return new ConsumerRun(settings, new Routes(settings.handlers, settings.retryTopics))
}

class ConsumerRun implements Consumer {
  readonly done: Promise<void>
  readonly #settings: ConsumerSettings
  readonly #tally = new Tally()
  readonly #partitions: Partitions
  readonly #fetching: Fetching
  readonly #firstRead: FirstRead
  readonly #outage: Outage | null
  readonly #retrier: Retrier
  readonly #topics: readonly string[]
  readonly #stopping = new AbortController()
  #state: ConsumerStatus['state'] = 'starting'
  #trouble: string | null = null
  #fatal: { readonly error: unknown } | null = null
  #membership: Membership | null = null
  #stopped: Promise<void> | null = null
  #starting: Promise<void>
  #cancelTick: () => void = () => undefined
  #lastForget = Number.NEGATIVE_INFINITY
  #advised = new Map<string, number>()
  #isTelling = false
  /** Did the broker answer what it was told last? */
  #told: Promise<boolean> = Promise.resolve(true)
  #rejoins = 0

  constructor(settings: ConsumerSettings, routes: Routes) {
    this.#settings = settings
    this.#topics = routes.topics
    this.#firstRead = new FirstRead(settings)
    const { breaker } = settings
    this.#outage = breaker === null ? null : new Outage(settings, breaker, () => this.#goOn())
    const batch: BatchSettings = {
      store: settings.store,
      routes,
      envelope: settings.envelope,
      deadLetter: settings.deadLetter,
      retry: settings.retry,
      retryTopics: settings.retryTopics,
      maxRecordBytes: settings.broker.traits.maxRecordBytes,
      timeoutMs: settings.timeoutMs,
      bounds: settings.parked,
      breaker: this.#outage?.breaker ?? null,
      codeVersion: settings.codeVersion,
      clock: settings.clock,
      optimism: new Optimism(),
      tally: this.#tally,
      suspects: new Suspects(() => this.#goOn()),
      onPublished: settings.onPublished,
      onParked: (parked) => this.#parked(parked),
    }
    this.#partitions = new Partitions(settings, batch, this.#firstRead, {
      wantsFetch: () => this.#fetching.changed(),
      trouble: (what, error) => this.#met(what, error),
      committed: () => (this.#trouble = null),
      fatal: (error) => this.#fail(error),
    })
    this.#retrier = new Retrier({
      group: settings.group,
      batch,
      clock: settings.clock,
      transactions: settings.retriers,
      pollMs: settings.retryPollMs,
      leaseMs: settings.retryLeaseMs,
      stopMs: settings.drainMs,
      topicIds: () => this.#topics.flatMap((topic) => this.#firstRead.topic(topic)?.id ?? []),
      trouble: (error) => this.#met('retry', error),
      succeeded: () => (this.#trouble = null),
    })
    this.#fetching = new Fetching(settings, this.#partitions, {
      trouble: (error) => this.#met('fetch', error),
      fatal: (error) => this.#fail(error),
    })
    const { promise, resolve, reject } = deferred()
    this.done = promise
    this.done.catch(() => undefined)
    this.#ended = (): void => (this.#fatal === null ? resolve() : reject(this.#fatal.error))
    this.#starting = this.#start()
  }

  readonly #ended: () => void

  stop(): Promise<void> {
    this.#stopped ??= this.#stop()
    return this.#stopped
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  status(): ConsumerStatus {
    const { repeatsBelowPosition, statuses } = this.#partitions
    return {
      state: this.#state,
      counts: this.#tally.counts(repeatsBelowPosition),
      partitions: statuses,
      breaker: this.#outage?.cause ?? null,
      trouble: this.#trouble,
    }
  }

  settledUpTo(topic: string, partition: number): number | null {
    return this.#partitions.settledUpTo(topic, partition)
  }

  advance(): void {
    this.#partitions.advance()
  }

  changeLanes(count: number): void {
    this.#partitions.changeLanes(wholeFromOne('lanes', count))
  }

  async #start(): Promise<void> {
    for (let failures = 1; !this.#stopping.signal.aborted; failures++) {
      try {
        await this.#firstRead.prepare(this.#topics)
        await this.#join()
        return
      } catch (error) {
        if (isFatal(error)) return this.#fail(error)
        this.#met('start', error)
        await this.#pause(failures)
      }
    }
  }

  async #join(): Promise<void> {
    const { group, broker, sessionTimeoutMs, clientId } = this.#settings
    const membership = await broker.join(
      {
        group,
        topics: this.#topics,
        ...(sessionTimeoutMs === undefined ? {} : { sessionTimeoutMs }),
        ...(clientId === undefined ? {} : { clientId }),
      },
      this.#listener(),
    )
    if (this.#stopping.signal.aborted) return membership.leave()
    this.#membership = membership
    this.#state = 'running'
    this.#fetching.start(membership)
    this.#retrier.start()
    this.#cancelTick()
    this.#tick()
  }

  #listener(): AssignmentListener {
    return {
      assigned: (partitions) => this.#partitions.assign(partitions),
      revoked: async (partitions) => this.#lastAdvice(await this.#partitions.revoke(partitions)),
      lost: (partitions) => this.#partitions.lose(partitions),
      failed: (error) => this.#membershipFailed(error),
    }
  }

  #membershipFailed(error: unknown): void {
    this.#partitions.loseAll()
    if (isFatal(error)) return this.#fail(error)
    this.#met('membership', error)
    if (this.#stopping.signal.aborted) return
    this.#membership = null
    this.#fetching.end().catch(() => undefined)
    this.#rejoins += 1
    this.#starting = this.#pause(this.#rejoins).then(() => this.#start())
  }

  /** About once a second: positions of idle lanes, and what others may want to know. */
  #tick(): void {
    this.#cancelTick = this.#settings.clock.after(this.#settings.idleAdvanceMs, () => {
      this.#partitions.advance()
      this.#advise(this.#partitions.stored())
      this.#forget()
      this.#tick()
    })
  }

  /**
   * Tells the broker how far the group is, for tools that look there. Nothing of ours rests on it. By the rows: what is only known here would be told
   * again, and lower, by who takes over after a loss. One word at a time, so that none overtakes another.
   */
  #advise(stored: readonly FetchPosition[]): void {
    if (this.#isTelling) return
    this.#told = this.#tell(stored)
  }

  /** Whether the broker said what became of it. */
  async #tell(stored: readonly FetchPosition[]): Promise<boolean> {
    const news = stored.filter((position) => this.#advised.get(nameOf(position)) !== position.offset)
    if (news.length === 0 || this.#membership === null) return true
    this.#isTelling = true
    try {
      await this.#membership.commit(news)
      for (const one of news) this.#advised.set(nameOf(one), one.offset)
      return true
    } catch (error) {
      // In mid-rebalance nothing is noted, and that is no trouble: the next tick tells it again.
      if (TidemarkError.is(error, 'GROUP_FENCED')) return true
      this.#met('commit to the broker', error)
      return false
    } finally {
      this.#isTelling = false
    }
  }

  /**
   * Before partitions go, so that a group that was stopped shows no lag it has not. No one waits long for it. Left out where an earlier word got no answer: that
   * one may still be on its way, and would come behind this one.
   */
  async #lastAdvice(stored: readonly FetchPosition[]): Promise<void> {
    const { clock } = this.#settings
    const until = clock.elapsed() + lastAdviceMs
    const told = this.#told.then((answered) => {
      if (answered && clock.elapsed() < until) this.#told = this.#tell(stored)
      return this.#told
    })
    await within(clock, lastAdviceMs, told)
  }

  #forget(): void {
    const now = this.#settings.clock.elapsed()
    if (now - this.#lastForget < forgetEveryMs) return
    this.#lastForget = now
    this.#settings.store.forgetHandled(this.#settings.dedupMs).catch((error: unknown) => this.#met('inbox', error))
  }

  /** Whoever waits is looked after when it is time, by this process or by another. */
  #parked({ handler, partition, record, afterMs, charged }: ParkedNow): void {
    this.#retrier.wake(afterMs)
    if (charged) this.#outage?.charged(handler, partition, record)
  }

  #goOn(): void {
    this.#partitions.goOn()
    this.#retrier.wake()
  }

  #met(what: string, error: unknown): void {
    const { errorClass, reason } = failureOf(error)
    this.#trouble = `${what}: ${reason}`
    channels.consumerTrouble.publish({ group: this.#settings.group, what, errorClass, error: reason })
  }

  #fail(error: unknown): void {
    this.#fatal ??= { error }
    this.#met('stopped', error)
    void this.stop()
  }

  async #stop(): Promise<void> {
    this.#state = 'stopping'
    this.#stopping.abort()
    this.#cancelTick()
    try {
      await this.#starting
      await this.#fetching.end()
      await Promise.all([this.#membership?.leave(), this.#retrier.stop()])
    } catch (error) {
      this.#met('leave', error)
    }
    // Whatever the broker said or did not say: nothing is ours any more.
    await this.#partitions.end()
    this.#state = 'stopped'
    this.#ended()
  }

  #pause(failures: number): Promise<void> {
    const { clock } = this.#settings
    return pause(clock, backoffMs({ firstMs: 100, maxMs: 5_000 }, failures, clock.random()), this.#stopping.signal)
  }
}

function nameOf({ topic, partition }: TopicPartition): string {
  return `${topic}/${partition}`
}
