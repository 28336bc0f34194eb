import { within } from '../../internal/clock.ts'
import { deferred } from '../../internal/deferred.ts'
import type { Fetched, FetchPosition, TopicPartition } from '../../message/port.ts'
import { channels } from '../../telemetry/channels.ts'
import type { Failure } from '../../retry/failure.ts'
import type { BatchOrder, BatchResult } from '../batch/batch-order.ts'
import type { BatchSettings } from '../batch/batch-settings.ts'
import { firstSize } from './batch-size.ts'
import type { PartitionStatus } from '../consumer.ts'
import type { ConsumerSettings } from '../consumer-options.ts'
import { isFatal } from '../fatal.ts'
import type { FirstRead } from './first-read.ts'
import type { Moment } from './lane.ts'
import { Partition } from './partition.ts'
import type { PartitionCommand } from './partition-command.ts'
import type { LaneRef, PartitionState } from '../port.ts'
import { cutAtDue } from './retry-wait.ts'
import { runBatch } from '../batch/run-batch.ts'
import { Dispatcher } from './dispatcher.ts'

interface PartitionsEvents {
  wantsFetch(): void
  trouble(what: string, error: unknown): void
  committed(): void
  fatal(error: unknown): void
}

/** How long a partition's release waits for its rows to say so. */
const giveBackMs = 1_000

/** A partition with what the shell keeps beside its state machine. */
interface Owned {
  readonly name: string
  readonly machine: Partition
  /** Aborts when what is in flight does not count any more. */
  abort: AbortController
  wake: { readonly at: number; readonly cancel: () => void } | null
  /** What was read of a retry topic and is not due yet. */
  later: { readonly from: number; readonly cancel: () => void } | null
  /** Its lanes' rows say that it leaves in order. */
  givenBack: Promise<void>
  readonly gone: Promise<void>
  readonly leave: () => void
}

/** The thin shell around the partitions' state machines: executes their commands over the store, a bounded number of batches at once. */
export class Partitions {
  readonly #settings: ConsumerSettings
  readonly #batch: BatchSettings
  readonly #firstRead: FirstRead
  readonly #events: PartitionsEvents
  readonly #dispatcher: Dispatcher
  readonly #owned = new Map<string, Owned>()
  readonly #running = new Set<Promise<void>>()
  #repeatsOfFormer = 0
  #wantedLanes: number | null = null

  constructor(settings: ConsumerSettings, batch: BatchSettings, firstRead: FirstRead, events: PartitionsEvents) {
    this.#settings = settings
    this.#batch = batch
    this.#firstRead = firstRead
    this.#events = events
    const { maxTransactions: most, clock } = settings
    this.#dispatcher = new Dispatcher({ most, clock, breaker: batch.breaker, suspects: batch.suspects })
  }

  assign(partitions: readonly TopicPartition[]): void {
    for (const { topic, partition } of partitions) {
      const name = `${topic}/${partition}`
      const topicId = this.#firstRead.topic(topic)?.id
      if (this.#owned.has(name) || topicId === undefined) continue
      const ref = { group: this.#settings.group, topic, topicId, partition }
      const machine = new Partition(ref, { limits: this.#settings.batch, buffer: () => this.#bufferOfEach() })
      const { promise, resolve } = deferred()
      const owned: Owned = {
        name,
        machine,
        abort: new AbortController(),
        wake: null,
        later: null,
        givenBack: Promise.resolve(),
        gone: promise,
        leave: resolve,
      }
      this.#owned.set(name, owned)
      if (this.#wantedLanes !== null) machine.changeLanes(this.#wantedLanes)
      this.#execute(owned, machine.assigned())
    }
  }

  /** Resolves when all of them are released, or the time for it is over, with how far their rows say they are settled then. */
  async revoke(partitions: readonly TopicPartition[]): Promise<FetchPosition[]> {
    const leaving = this.#find(partitions)
    const cancel = this.#settings.clock.after(this.#settings.drainMs, () => this.lose(partitions))
    for (const owned of leaving) this.#execute(owned, owned.machine.drain())
    await Promise.all(leaving.map(({ gone }) => gone))
    cancel()
    return storedOf(leaving)
  }

  lose(partitions: readonly TopicPartition[]): void {
    for (const owned of this.#find(partitions)) this.#execute(owned, owned.machine.abandon())
  }

  loseAll(): void {
    for (const owned of [...this.#owned.values()]) this.#execute(owned, owned.machine.abandon())
  }

  /** Gives up whatever is still there, and waits for batches that are ending. */
  async end(): Promise<void> {
    this.loseAll()
    this.#dispatcher.end()
    // A handler that never ends must not keep the process from stopping.
    await within(this.#settings.clock, this.#settings.drainMs, Promise.all(this.#running))
  }

  fetchPositions(): FetchPosition[] {
    const positions: FetchPosition[] = []
    for (const { machine, later } of this.#owned.values()) {
      const place = machine.fetchFrom
      if (place === null || later?.from === place.offset) continue
      const { topic, topicId, partition } = machine.ref
      const known = place.leaderEpoch === null ? {} : { leaderEpoch: place.leaderEpoch }
      positions.push({ topic, topicId, partition, offset: place.offset, ...known })
    }
    return positions
  }

  fetched(from: number, found: Fetched): void {
    const owned = this.#owned.get(`${found.topic}/${found.partition}`)
    if (owned === undefined) return
    const tier = this.#settings.retryTopics.tier(found.topic)
    this.#execute(owned, tell(owned.machine, from, tier === undefined ? found : this.#due(owned, found, tier.delayMs)))
  }

  /** The rest is told when it is due. If the partition is read from elsewhere then, it was an answer to an outdated question. */
  #due(owned: Owned, found: Fetched, delayMs: number): Fetched {
    const { due, later } = cutAtDue(found, delayMs, this.#settings.clock.now())
    owned.later?.cancel()
    owned.later = null
    if (later === null) return due
    const cancel = this.#settings.clock.after(later.inMs, () => {
      owned.later = null
      if (owned.machine.fetchFrom?.offset === later.from) this.fetched(later.from, later.found)
      else this.#events.wantsFetch()
    })
    owned.later = { from: later.from, cancel }
    return due
  }

  advance(): void {
    for (const owned of this.#owned.values()) this.#execute(owned, owned.machine.advance())
  }

  changeLanes(count: number): void {
    this.#wantedLanes = count
    for (const owned of this.#owned.values()) this.#execute(owned, owned.machine.changeLanes(count))
  }

  settledUpTo(topic: string, partition: number): number | null {
    return this.#owned.get(`${topic}/${partition}`)?.machine.settledUpTo ?? null
  }

  stored(): FetchPosition[] {
    return storedOf([...this.#owned.values()])
  }

  /** The breaker has closed, or another suspect may run. */
  goOn(): void {
    this.#dispatcher.goOn()
  }

  get repeatsBelowPosition(): number {
    return [...this.#owned.values()].reduce((sum, { machine }) => sum + machine.repeatsBelowPosition, this.#repeatsOfFormer)
  }

  get statuses(): PartitionStatus[] {
    return [...this.#owned.values()].map(({ machine }) => ({
      topic: machine.ref.topic,
      partition: machine.ref.partition,
      phase: machine.phase,
      lanes: machine.lanes.length,
      queued: machine.lanes.reduce((sum, lane) => sum + lane.queued, 0),
      settledUpTo: machine.settledUpTo,
      parkedKeys: machine.lanes.reduce((sum, lane) => sum + lane.parked.size, 0),
      full: machine.lanes.some((lane) => lane.isFull),
    }))
  }

  #find(partitions: readonly TopicPartition[]): Owned[] {
    return partitions.flatMap(({ topic, partition }) => this.#owned.get(`${topic}/${partition}`) ?? [])
  }

  #bufferOfEach(): { readonly messages: number; readonly bytes: number } {
    const share = Math.max(1, this.#owned.size)
    return { messages: Math.max(1, this.#settings.bufferMessages / share), bytes: Math.max(1, this.#settings.bufferBytes / share) }
  }

  #execute(owned: Owned, commands: readonly PartitionCommand[]): void {
    let fetch = false
    for (const command of commands) {
      if (command.do === 'fetch') fetch = true
      else this.#perform(owned, command)
    }
    if (fetch) this.#events.wantsFetch()
    this.#dispatcher.dispatch()
  }

  #perform(owned: Owned, command: Exclude<PartitionCommand, { do: 'fetch' }>): void {
    switch (command.do) {
      case 'ready':
        this.#dispatcher.add(`${owned.name}/${command.lane}`, {
          isSuspect: () => owned.machine.isSuspect(command.lane),
          order: (probe) => owned.machine.order(command.lane, probe),
          run: (order) => this.#track(this.#runBatch(owned, order)),
        })
        return
      case 'wake':
        this.#wakeAfter(owned, command.afterMs)
        return
      case 'takeOver':
        this.#track(this.#takeOver(owned, command.ownership))
        return
      case 'reload':
        this.#track(this.#reload(owned, command))
        return
      case 'advance':
        this.#track(this.#advance(owned, command))
        return
      case 'replaceLanes':
        this.#track(this.#replaceLanes(owned, command))
        return
      case 'giveBack':
        owned.givenBack = this.#giveBack(owned, command.lanes)
        this.#track(owned.givenBack)
        return
      case 'tell':
        this.#tell(owned, command.what)
        return
      case 'fail':
        this.#events.fatal(command.error)
        return
    }
  }

  // ---- batches

  async #runBatch(owned: Owned, order: BatchOrder): Promise<void> {
    const { ownership } = owned.machine
    const result = await runBatch(order, this.#batch, owned.abort.signal)
    this.#dispatcher.ended(order, result)
    this.#note(order, result)
    this.#execute(owned, owned.machine.batchEnded(ownership, order, result, this.#now()))
  }

  #note(order: BatchOrder, result: BatchResult): void {
    const { group, topic, partition, lane } = order.lane
    const { tally } = this.#batch
    if (result.outcome === 'committed') {
      this.#events.committed()
      const { handled, ms, position } = result
      if (channels.consumerBatch.hasSubscribers) {
        channels.consumerBatch.publish({ group, topic, partition, lane, handled, nextOffset: position.nextOffset, ms })
      }
      return
    }
    const errorClass = 'failure' in result ? result.failure.errorClass : undefined
    tally.uncharged += 1
    if (result.outcome === 'full') this.#events.trouble('parked', full(order.lane))
    if (result.outcome === 'unavailable' || result.outcome === 'lost') this.#events.trouble('batch', unavailable(result.failure))
    channels.consumerRollback.publish({ group, topic, partition, lane, reason: result.outcome, errorClass })
  }

  // ---- the store

  async #giveBack(owned: Owned, lanes: Extract<PartitionCommand, { do: 'giveBack' }>['lanes']): Promise<void> {
    try {
      await this.#settings.store.giveBack(owned.machine.ref, lanes)
    } catch (error) {
      // Whoever comes next is careful for a while, without need.
      this.#events.trouble('give back', error)
    }
  }

  async #takeOver(owned: Owned, ownership: number): Promise<void> {
    const { machine } = owned
    try {
      await this.#firstRead.check(machine.ref.topic)
      let state = await this.#takeOverRows(owned)
      if (state.lanes.length === 0) {
        await this.#firstRead.prepare([machine.ref.topic])
        state = await this.#takeOverRows(owned)
      }
      if (state.lanes.length === 0) throw stillWaiting(machine.ref)
      this.#execute(owned, machine.tookOver(ownership, state))
      // Where it came too late: whoever stops waits for this, too.
      await owned.givenBack
    } catch (error) {
      if (isFatal(error)) return this.#events.fatal(error)
      this.#events.trouble('take-over', error)
      this.#execute(owned, machine.takeOverFailed(ownership, this.#now()))
    }
  }

  #takeOverRows(owned: Owned): Promise<PartitionState> {
    const { store, lockTimeoutMs, batch } = this.#settings
    return store.takeOver({ partition: owned.machine.ref, lockTimeoutMs, inFlight: Math.min(firstSize, batch.maxMessages) })
  }

  async #reload(owned: Owned, { ownership, lane, since }: Extract<PartitionCommand, { do: 'reload' }>): Promise<void> {
    const { machine } = owned
    const { store } = this.#settings
    try {
      const ref = { ...machine.ref, lane }
      const news = since === null ? null : await store.catchUp(ref, since.position, since.waiting)
      if (news !== null) return this.#execute(owned, machine.caughtUp(ownership, news, this.#now()))
      this.#execute(owned, machine.reloaded(ownership, lane, await store.reload(ref), this.#now()))
    } catch (error) {
      this.#events.trouble('reload', error)
      this.#execute(owned, machine.reloadFailed(ownership, lane, this.#now()))
    }
  }

  async #advance(owned: Owned, { ownership, targets }: Extract<PartitionCommand, { do: 'advance' }>): Promise<void> {
    const { machine } = owned
    try {
      const moved = await this.#settings.store.advance(machine.ref, targets)
      this.#execute(owned, machine.advanced(ownership, targets, moved, this.#now()))
    } catch (error) {
      this.#events.trouble('idle advance', error)
      this.#execute(owned, machine.advanceFailed(ownership, targets, this.#now()))
    }
  }

  async #replaceLanes(owned: Owned, { ownership, from, count, at }: Extract<PartitionCommand, { do: 'replaceLanes' }>): Promise<void> {
    const { machine } = owned
    try {
      const state = await this.#settings.store.replaceLanes(machine.ref, from, count, at)
      this.#execute(owned, machine.replaced(ownership, state, this.#now()))
    } catch (error) {
      this.#events.trouble('change of lanes', error)
      this.#execute(owned, machine.replaceFailed(ownership, this.#now()))
    }
  }

  // ---- surroundings

  #tell(owned: Owned, what: 'taken' | 'fenced' | 'released' | 'abandoned'): void {
    const { group, topic, partition } = owned.machine.ref
    if (what !== 'taken') {
      owned.abort.abort()
      owned.abort = new AbortController()
    }
    if (what === 'released' || what === 'abandoned') this.#remove(owned)
    channels.consumerOwnership.publish({ group, topic, partition, what })
  }

  #remove(owned: Owned): void {
    owned.wake?.cancel()
    owned.wake = null
    owned.later?.cancel()
    if (this.#owned.get(owned.name) === owned) this.#owned.delete(owned.name)
    this.#repeatsOfFormer += owned.machine.repeatsBelowPosition
    // Whoever comes next shall see it; but nobody waits long.
    void within(this.#settings.clock, giveBackMs, owned.givenBack).then(owned.leave)
  }

  /** One timer for each partition, for the earliest moment: the machine asks again for the others. */
  #wakeAfter(owned: Owned, afterMs: number): void {
    const { clock } = this.#settings
    const at = clock.elapsed() + afterMs
    if (owned.wake !== null && owned.wake.at <= at) return
    owned.wake?.cancel()
    const cancel = clock.after(afterMs, () => {
      owned.wake = null
      this.#execute(owned, owned.machine.wake(this.#now()))
    })
    owned.wake = { at, cancel }
  }

  #track(work: Promise<void>): void {
    this.#running.add(work)
    work.then(
      () => this.#running.delete(work),
      (error: unknown) => {
        this.#running.delete(work)
        this.#events.fatal(error)
      },
    )
  }

  #now(): Moment {
    const { clock } = this.#settings
    return { wall: clock.now(), elapsed: clock.elapsed(), random: clock.random() }
  }
}

function storedOf(owned: readonly Owned[]): FetchPosition[] {
  return owned.flatMap(({ machine: { ref, storedUpTo } }) =>
    storedUpTo === null ? [] : [{ topic: ref.topic, partition: ref.partition, offset: storedUpTo }],
  )
}

function tell(machine: Partition, from: number, found: Fetched): readonly PartitionCommand[] {
  const { records, nextOffset, endOffset, leaders, outOfRange, truncated } = found
  if (outOfRange !== undefined) return machine.outOfRange(from, outOfRange.startOffset, endOffset)
  if (truncated !== undefined) return machine.truncated(from, truncated.endOffset)
  return machine.fetched(from, records, nextOffset, leaders, endOffset)
}

/** Not one of our own errors, since those end the consumer unless they say that they pass. */
function stillWaiting({ topic, partition }: TopicPartition): Error {
  return new Error(`${topic}-${partition} came after the group began, and is left alone: addedPartitions is 'wait'.`)
}

/** Not one of our own errors, for the same reason. */
function full({ group, topic, partition }: LaneRef): Error {
  return new Error(
    `So much waits behind parked keys of ${topic}-${partition} that the group ${group} goes on there only when some of it is done: see parked.bytesPerKey and parked.bytesPerPartition.`,
  )
}

/** The words of a failure in a batch may be the handler's, and quote a payload. */
function unavailable({ errorClass }: Failure): Error {
  return new Error(`What a batch needs was away, the database or a schema, or its commit's outcome is unknown (${errorClass}).`)
}
