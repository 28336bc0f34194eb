import { TidemarkError } from '../../../errors.ts'
import type { Clock } from '../../../internal/clock.ts'
import { deferred } from '../../../internal/deferred.ts'
import { brokerClosed } from '../../../message/broker-error.ts'
import { recordBytes } from '../../../message/page.ts'
import type { Fetched, FetchOptions, FetchPosition, LogReader as LogReaderPort } from '../../../message/port.ts'
import { decodeBatches } from '../record-batch/decode-batches.ts'
import { listOffsets } from '../topics/list-offsets.ts'
import type { TopicDirectory } from '../topics/topic-directory.ts'
import type { Cluster, ClusterTopic } from '../wire/cluster.ts'
import { type Node, placeOf } from '../wire/node.ts'
import { errorName, protocolError } from '../wire/protocol-error.ts'
import { type FetchAnswer, type FetchPlace, fetchApi } from './fetch-api.ts'
import { Troubles } from './troubles.ts'

export interface LogReaderParts {
  readonly cluster: Cluster
  readonly directory: TopicDirectory
  readonly clock: Clock
  /** Distinguishes this reader's connections from others'. */
  readonly name: string
  /** Named in errors: what was closed. */
  readonly as: 'membership' | 'reader'
  /** Called once. @default nothing */
  readonly closed?: () => void
}

/** The broker holds a request that finds nothing for at most so long. A position that changes meanwhile waits for it only if all slots are taken. */
const longestHoldMs = 500
/** Requests to one broker at a time, each over a connection of its own: one may wait for quiet partitions while another brings the busy ones. */
const slotsOfNode = 3
/** An election, or a topic that was made a moment ago, is waited for beyond the caller's time; what cannot be read after that is an error. */
const patienceMs = 2_000
/** Beyond the hold. A leader that is frozen has been replaced by then. */
const replyMs = 10_000
/** Before metadata that turned out wrong is looked up again. */
const pauseMs = 50

/** A position and what is known of it during one call. */
interface Wanted extends FetchPosition {
  readonly key: string
  readonly topicInfo: ClusterTopic
}

/** A request under way; it may outlive the call that made it. */
interface Request {
  readonly slot: number
  /** What is asked for, by partition. */
  readonly places: ReadonlyMap<string, Wanted>
}

/**
 * Reads partitions from wherever they lie. What a reply brings for a call that is over, aborted or answered by another broker first, is kept for the
 * next call that asks for the same place, so that no reply is in vain and no request has to be called back.
 */
export class LogReader implements LogReaderPort {
  readonly #parts: LogReaderParts
  readonly #lane: string
  /** Requests by broker. */
  readonly #requests = new Map<string, Set<Request>>()
  /** Replies nobody has taken yet, by partition. */
  readonly #ready = new Map<string, { readonly place: Wanted; readonly found: Fetched | null }>()
  readonly #troubles = new Troubles()
  /** What the calls under way ask for. */
  readonly #calls = new Set<ReadonlySet<string>>()
  #news = deferred()
  #turn = 0
  #closed = false

  constructor(parts: LogReaderParts) {
    this.#parts = parts
    this.#lane = `fetch ${parts.name}`
  }

  /** See `Membership.fetch`. */
  async fetch(from: readonly FetchPosition[], { maxBytes, maxWaitMs, signal }: FetchOptions): Promise<readonly Fetched[]> {
    const { clock } = this.#parts
    const until = clock.elapsed() + maxWaitMs
    const onAbort = (): void => this.#tell()
    signal?.addEventListener('abort', onAbort)
    const keys = new Set(from.map(keyOf))
    this.#calls.add(keys)
    // That there was nothing is not worth keeping.
    for (const key of keys) if (this.#ready.get(key)?.found === null) this.#ready.delete(key)
    const first = from.length === 0 ? 0 : this.#turn++ % from.length
    const inTurn = [...from.slice(first), ...from.slice(0, first)]
    // What was found empty, so that a call that may not wait knows when it has seen everything.
    const empty = new Set<string>()
    try {
      for (;;) {
        if (this.#closed) throw brokerClosed(this.#parts.as)
        const wanted = await this.#resolve(inTurn)
        if (signal?.aborted === true) return []
        const due = this.#troubles.due([...keys], clock.elapsed())
        if (due !== null) {
          // Asked for all the same: however rarely the caller comes, what was told last time has been tried since.
          if (due.retryable) this.#ask(wanted, 0, maxBytes)
          throw due
        }
        const found = this.#take(wanted, maxBytes, empty)
        if (found.length > 0) return found
        const leftMs = until - clock.elapsed()
        const isPatient = leftMs > -patienceMs && wanted.some(({ key }) => this.#troubles.has(key))
        if (leftMs <= 0 && !isPatient && (maxWaitMs > 0 || wanted.every(({ key }) => empty.has(key) || this.#troubles.has(key)))) {
          return this.#nothing(wanted)
        }
        const news = this.#news.promise
        this.#ask(wanted, Math.max(0, Math.min(leftMs, longestHoldMs)), maxBytes)
        await this.#wait(news, leftMs > 0 ? leftMs : maxWaitMs > 0 ? patienceMs : null)
        if (this.#closed) return []
      }
    } finally {
      this.#calls.delete(keys)
      signal?.removeEventListener('abort', onAbort)
    }
  }

  /** Ends connections; waiting calls resolve with nothing. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    for (let slot = 0; slot < slotsOfNode; slot++) this.#parts.cluster.endLane(`${this.#lane} ${slot}`)
    this.#ready.clear()
    this.#tell()
    this.#parts.closed?.()
  }

  async #resolve(from: readonly FetchPosition[]): Promise<Wanted[]> {
    const wanted: Wanted[] = []
    for (const position of from) {
      wanted.push({ ...position, key: keyOf(position), topicInfo: await this.#parts.directory.of(position) })
    }
    return wanted
  }

  /** What has come for these places; what has come for others is dropped. */
  #take(wanted: readonly Wanted[], maxBytes: number, empty: Set<string>): Fetched[] {
    for (const key of this.#ready.keys()) if (![...this.#calls].some((asked) => asked.has(key))) this.#ready.delete(key)
    const found: Fetched[] = []
    let bytes = 0
    for (const place of wanted) {
      const { key } = place
      const ready = this.#ready.get(key)
      if (ready === undefined || bytes >= maxBytes) continue
      this.#ready.delete(key)
      if (!isSame(ready.place, place)) continue
      if (ready.found === null) {
        empty.add(key)
        continue
      }
      found.push(ready.found)
      for (const record of ready.found.records) bytes += recordBytes(record)
    }
    return found
  }

  /** Nothing came: is that because there is nothing, or because nobody could be asked? */
  #nothing(wanted: readonly Wanted[]): readonly Fetched[] {
    const trouble = this.#troubles.find(wanted.map(({ key }) => key))
    if (trouble !== null) throw trouble
    return []
  }

  async #wait(news: Promise<void>, ms: number | null): Promise<void> {
    if (ms === null) return news
    const { promise, resolve } = deferred()
    const cancel = this.#parts.clock.after(ms, resolve)
    await Promise.race([news, promise])
    cancel()
  }

  #tell(): void {
    const { resolve } = this.#news
    this.#news = deferred()
    resolve()
  }

  /** Sends requests for what nobody is asking for yet. */
  #ask(wanted: readonly Wanted[], holdMs: number, maxBytes: number): void {
    const byLeader = new Map<string, { readonly node: Node; readonly places: Wanted[] }>()
    for (const one of wanted) {
      if (this.#ready.has(one.key)) continue
      const { leader, leaderEpoch } = one.topicInfo.partitions[one.partition] ?? noLeader
      if (leader === null) {
        this.#leaderless(one, 'has no leader at the moment')
        continue
      }
      if (one.leaderEpoch !== undefined && leaderEpoch < one.leaderEpoch) {
        // Who tells so is cut off from the others; or all of them were put back to an older state.
        this.#leaderless(one, `has a leader of epoch ${leaderEpoch}, it is said, but epoch ${one.leaderEpoch} was read before`)
        continue
      }
      const name = placeOf(leader)
      const under = [...(this.#requests.get(name) ?? [])].some(({ places }) => isSame(places.get(one.key), one))
      if (under) continue
      const group = byLeader.get(name)
      if (group === undefined) byLeader.set(name, { node: leader, places: [one] })
      else group.places.push(one)
    }
    for (const { node, places } of byLeader.values()) this.#request(node, places, holdMs, maxBytes)
  }

  #request(node: Node, places: readonly Wanted[], holdMs: number, maxBytes: number): void {
    const name = placeOf(node)
    const under = this.#requests.get(name) ?? new Set<Request>()
    this.#requests.set(name, under)
    const taken = new Set([...under].map(({ slot }) => slot))
    const slot = Array.from({ length: slotsOfNode }, (_, i) => i).find((i) => !taken.has(i))
    if (slot === undefined) return
    const request: Request = { slot, places: new Map(places.map((place) => [place.key, place])) }
    under.add(request)
    const done = (): void => {
      under.delete(request)
      this.#tell()
    }
    this.#perform(node, slot, places, holdMs, maxBytes).then(done, (error: unknown) => {
      this.#failed(places, error)
      // So that a broker that is down is not asked in a tight loop.
      this.#parts.clock.after(pauseMs, done)
    })
  }

  async #perform(node: Node, slot: number, places: readonly Wanted[], holdMs: number, maxBytes: number): Promise<void> {
    const asked: FetchPlace[] = places.map(({ topicInfo, partition, offset, leaderEpoch }) => ({
      topicId: topicInfo.id,
      partition,
      offset,
      leaderEpoch: topicInfo.partitions[partition]!.leaderEpoch,
      lastFetchedEpoch: leaderEpoch ?? -1,
    }))
    const limits = { maxWaitMs: holdMs, maxBytes, maxPartitionBytes: maxBytes }
    const reply = await this.#parts.cluster.call(node, fetchApi, [asked, limits], {
      lane: `${this.#lane} ${slot}`,
      timeoutMs: holdMs + replyMs,
    })
    if (reply.errorCode !== 0) throw protocolError(reply.errorCode, `to be read from by ${this.#parts.name}`)
    const answers = new Map(reply.partitions.map((answer) => [`${answer.topicId}/${answer.partition}`, answer]))
    let wrong = false
    for (const place of places) {
      const answer = answers.get(`${place.topicInfo.id}/${place.partition}`)
      try {
        if (answer !== undefined) await this.#note(place, answer)
      } catch (error) {
        wrong = true
        this.#failed([place], error)
      }
    }
    if (wrong) await new Promise<void>((resolve) => this.#parts.clock.after(pauseMs, resolve))
  }

  async #note(place: Wanted, answer: FetchAnswer): Promise<void> {
    if (errorName(answer.errorCode) === 'OFFSET_OUT_OF_RANGE') return this.#noteOutOfRange(place)
    if (answer.errorCode !== 0) throw protocolError(answer.errorCode, `to be read from: partition ${place.partition} of ${place.topic}`)
    const { topic, partition, offset } = place
    const endOffset = answer.lastStableOffset >= 0 ? answer.lastStableOffset : answer.highWatermark
    const decoded =
      answer.records === null
        ? null
        : decodeBatches(answer.records, { topic, partition, from: offset, abortedTransactions: answer.abortedTransactions })
    const isNews = decoded !== null && (decoded.records.length > 0 || decoded.nextOffset > offset)
    // Brokers give whole batches, the first one at least.
    if (decoded !== null && !isNews && answer.diverging === null) throw corruptReply(place)
    let found: Fetched | null = null
    if (answer.diverging !== null) {
      const truncated = { endOffset: Math.min(answer.diverging.endOffset, offset) }
      found = { topic, partition, records: [], endOffset, nextOffset: offset, truncated }
    } else if (isNews) {
      const { records, nextOffset, leaders } = decoded
      found = { topic, partition, records, endOffset, nextOffset, leaders }
    }
    this.#troubles.end(place.key)
    if (!this.#closed) this.#ready.set(place.key, { place, found })
  }

  async #noteOutOfRange(place: Wanted): Promise<void> {
    const { topic, partition, offset, leaderEpoch } = place
    const { cluster, clock } = this.#parts
    const [first, last] = await Promise.all(
      (['earliest', 'latest'] as const).map((at) => listOffsets(cluster, clock, topic, at, [partition])),
    )
    const [startOffset, endOffset] = [first!.get(partition)!, last!.get(partition)!]
    if (offset >= startOffset && offset <= endOffset) {
      // In between the log may have grown into the place: then it is asked for again. With an epoch the refusal is about that, too.
      if (leaderEpoch === undefined) return
      const text = `The broker does not know the leader epoch ${leaderEpoch}, in which offset ${offset - 1} of ${topic}-${partition} was written.`
      throw new TidemarkError('BROKER_UNREACHABLE', text)
    }
    this.#troubles.end(place.key)
    const found: Fetched = { topic, partition, records: [], endOffset, nextOffset: offset, outOfRange: { startOffset } }
    this.#ready.set(place.key, { place, found })
  }

  /** Notes what went wrong, and looks the topics up again at the next turn. */
  #failed(places: readonly Wanted[], error: unknown): void {
    if (this.#closed) return
    const trouble = TidemarkError.is(error)
      ? error
      : new TidemarkError('BROKER_FAILED', `A fetch failed: ${String(error)}`, { cause: error })
    for (const { key, topic } of places) {
      // Whether the topic is gone, or the broker asked has not heard of it yet, is for the cluster to say.
      this.#noteTrouble(key, TidemarkError.is(trouble, 'TOPIC_UNKNOWN') ? unsure(trouble) : trouble)
      this.#parts.directory.forget(topic)
    }
  }

  #noteTrouble(key: string, error: TidemarkError): void {
    this.#troubles.note(key, error, this.#parts.clock.elapsed())
  }

  #leaderless({ key, topic, partition }: Wanted, why: string): void {
    this.#parts.directory.forget(topic)
    this.#noteTrouble(key, new TidemarkError('BROKER_UNREACHABLE', `Partition ${partition} of ${topic} ${why}.`))
    this.#parts.clock.after(pauseMs, () => this.#tell())
  }
}

const noLeader = { leader: null, leaderEpoch: -1 } as const

/** What comes for the one is for the other, too. */
function isSame(one: Wanted | undefined, other: Wanted): boolean {
  return one?.offset === other.offset && one.leaderEpoch === other.leaderEpoch && one.topicInfo.id === other.topicInfo.id
}

function keyOf({ topic, partition }: FetchPosition): string {
  return `${topic}/${partition}`
}

function corruptReply({ topic, partition, offset }: FetchPosition): TidemarkError {
  return new TidemarkError(
    'BROKER_BATCH_CORRUPT',
    `The broker sent bytes without a whole batch for ${topic}-${partition} from offset ${offset}.`,
  )
}

function unsure(error: TidemarkError): TidemarkError {
  return new TidemarkError('BROKER_UNREACHABLE', error.message, { cause: error })
}
