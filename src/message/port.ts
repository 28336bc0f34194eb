import type { Coordinate } from './coordinate.ts'

/**
 * The `Broker` port: a log of topics with partitions, read by groups. Shaped after Kafka; the memory and Postgres drivers do the same.
 *
 * @module
 */

/** One header. A name may occur more than once; order is kept. Values are bytes on the wire; text is UTF-8. */
export type Header = readonly [name: string, value: Buffer | string | null]

/** A record to append. `partition` is chosen by the sender with `partitionOf`. */
export interface OutgoingRecord {
  readonly topic: string
  readonly partition: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: readonly Header[]
}

/** A record as it stands in the log. */
export interface LogRecord {
  readonly topic: string
  readonly partition: number
  /** Dense or not is a trait; strictly rising within the partition always. */
  readonly offset: number
  /** When the log took it, milliseconds since 1970. */
  readonly timestamp: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: readonly Header[]
}

/** What a service expects of a topic. */
export interface TopicSpec {
  readonly name: string
  /** Number of partitions when it must be made. @default the broker's `defaultPartitions` */
  readonly partitions?: number
  /** Keep records at least this long. @default the broker's own */
  readonly retentionMs?: number
  /** Keep the last record of each key for good, and drop earlier ones at some time. For brokers that can (Kafka). @default false */
  readonly compact?: boolean
}

/** A topic as the broker has it. */
export interface Topic {
  readonly name: string
  /** Changes when a topic is deleted and made again, so that a position never survives it. */
  readonly id: string
  readonly partitions: number
  /** In what it is not as the spec says, in words; missing where it is, or the broker cannot know. */
  readonly differs?: readonly string[]
}

export interface TopicPartition {
  readonly topic: string
  readonly partition: number
}

/** A partition as a member gets it: `topicId` is that of the topic at the moment of the assignment. */
export interface AssignedPartition extends TopicPartition {
  readonly topicId: string
}

/** What differs from driver to driver. Shown as a table in the docs; conformance cases name the traits they need. */
export interface BrokerTraits {
  /** Offsets have no holes. */
  readonly denseOffsets: boolean
  /** `append` itself refuses a superseded sender. Without it a superseded sender may repeat old messages. */
  readonly fencesAppends: boolean
  /** A page sent again after a lost reply is not appended twice, if its records carry coordinates. */
  readonly skipsRepeats: boolean
  /** Records survive the end of the process. */
  readonly durable: boolean
  /** Members of a group may live in different processes. */
  readonly crossProcess: boolean
  /** Largest record the broker takes, key, value and headers together, in bytes. */
  readonly maxRecordBytes: number
}

/**
 * The log. Every method rejects with a `TidemarkError`. `BROKER_UNREACHABLE` is retryable: nothing was done, or, for an `append` whose reply was
 * lost, the outcome is unknown. After `close` everything rejects with `BROKER_CLOSED`.
 */
export interface Broker {
  readonly traits: BrokerTraits

  /**
   * Makes the topics that are missing and describes all of them, in the order asked for. Safe to call twice and by two processes at once.
   * Never changes a topic that exists: what is not as asked for is told by `differs`, and the caller decides.
   */
  topics(specs: readonly TopicSpec[]): Promise<readonly Topic[]>

  /**
   * Becomes the sender of a stream and supersedes whoever was it, if `fencesAppends`: an older epoch's later appends reject with `BROKER_FENCED`.
   * Ordered by the life of the source (the number at the end of `sourceEpoch`), then by epoch; one below the stream's present owner rejects at once
   * with `BROKER_FENCED`, whose `details.last` is the stream's last coordinate in wire form or null: above the sender's own tick it means that not
   * a rival but a restored database is the cause. The same claim again (a new connection) is fine.
   */
  appender(stream: StreamClaim): Promise<Appender>

  /**
   * Becomes a member of a group. Assignments arrive at the listener from then on, the first ones perhaps before this resolves.
   * Rejects with `TOPIC_UNKNOWN` when a topic is missing: `topics` comes first. All members of a group should name the same topics; where they do
   * not, each gets partitions of its own topics only.
   */
  join(membership: MembershipOptions, listener: AssignmentListener): Promise<Membership>

  /** For whoever reads without being a member of a group: a look at a backlog, a replay. Opens nothing before the first fetch. */
  reader(): LogReader

  /**
   * For each partition of the topic, an offset: the first one kept, the one after the last, or the first one whose record is not older than
   * the given time (the end where there is none). Rejects with `TOPIC_UNKNOWN`.
   */
  offsets(topic: string, at: 'earliest' | 'latest' | Date): Promise<readonly number[]>

  /**
   * For each partition of the topic, the offset that the group committed last (`Membership.commit`, or whatever a foreign member of it did), `null`
   * where it committed none. The group need not have members. Rejects with `TOPIC_UNKNOWN`.
   */
  committed(group: string, topic: string): Promise<readonly (number | null)[]>

  /**
   * How long each of these topics keeps its records, in milliseconds, `Infinity` for ever. Topics that do not exist, or of which this principal may
   * not know it, are left out.
   */
  retention?(topics: readonly string[]): Promise<ReadonlyMap<string, number>>

  /** Ends connections and timers; waiting fetches resolve with nothing. Members that did not leave are left to expire. A second call does nothing. */
  close(): Promise<void>
}

/** Who sends: one strictly ordered sender of one source database. */
export interface StreamClaim {
  readonly sourceEpoch: string
  readonly generation: number
  readonly stream: number
  /** Rises with every take-over of the stream. */
  readonly epoch: number
  /** Topics that this stream may have written to; a driver without a table of streams looks at their tails. */
  readonly topics: readonly string[]
}

export interface Appender {
  /**
   * The highest coordinate of this source and stream (any source epoch's life of the same source id) that the log holds, or `null`.
   * Above the sender's own stored tick it proves that the sender's database is an old copy.
   */
  readonly last: Coordinate | null

  /**
   * Appends the records of one page, in order per partition, and resolves when all are durable. All records carry the stream's coordinate,
   * rising from record to record. After a rejection any part of the page may be in the log: the caller sends the same page again.
   * Records the broker will never take are left out and returned, with those of the same key that follow them in the page; all others are
   * appended. What is refused stays refused however often the page is sent: a repeat that is left out must not be one that never came. A driver that knows the stream's last coordinate
   * leaves out what the log holds already (trait `skipsRepeats`).
   *
   * One call at a time: a second one before the first has settled rejects with `INPUT_INVALID`, since after a failure of the first page the second
   * would stand before it. Rejects with `TOPIC_UNKNOWN` or `TOPIC_MISMATCH` (no such partition), and nothing of the page is appended then.
   */
  append(records: readonly SequencedRecord[]): Promise<readonly Refusal[]>

  close(): Promise<void>
}

/** A record with its place in the stream. The coordinate is also among the headers; drivers do not have to read it there. `null` in simple mode. */
export interface SequencedRecord extends OutgoingRecord {
  readonly coordinate: Coordinate | null
}

export interface Refusal {
  /** Index into the appended page. */
  readonly index: number
  readonly reason: string
}

export interface MembershipOptions {
  readonly group: string
  readonly topics: readonly string[]
  /** A member silent for longer has its partitions given to others. @default the broker's own, 10,000 ms for postgres and memory */
  readonly sessionTimeoutMs?: number
  /** How long `revoked` may take before its partitions are given away regardless. @default the broker's own, 30,000 ms for postgres and memory */
  readonly drainTimeoutMs?: number
  /** Shown to operators. */
  readonly clientId?: string
}

/**
 * How a member hears of its partitions. The broker calls one at a time, in order, and waits for `revoked`; only `lost` and `failed` may come while
 * a `revoked` is under way, and then nothing is waited for. Nobody else is assigned a partition before its owner's `revoked` has resolved, or its
 * deadline or session has passed. What a listener throws is ignored, as is a rejection of `revoked`: the partitions go all the same.
 */
export interface AssignmentListener {
  /** These partitions are ours, until revoked or lost. Only new ones are named. */
  assigned(partitions: readonly AssignedPartition[]): void
  /** These must go. Finish or abandon what is in flight before resolving; past `drainTimeoutMs` they are given away regardless, and `lost` says so. */
  revoked(partitions: readonly AssignedPartition[]): Promise<void>
  /** These went already (the session expired, the topic was deleted). Nothing can be finished; fences decide. Assignments may follow. */
  lost(partitions: readonly AssignedPartition[]): void
  /** The membership cannot go on by itself; the member has no partitions any more. */
  failed(error: unknown): void
}

/** Reads partitions. */
export interface LogReader {
  /**
   * Reads from the given offsets on. Resolves at once when any partition has records or is out of range or truncated, else after `maxWaitMs` with nothing, or
   * when `signal` aborts. Returns at least one record of one partition that has any, however large; no partition waits for ever behind others.
   * Offsets are the caller's: nothing is remembered between calls, several calls may be under way, and partitions need not be assigned to be read.
   *
   * Rejects with `TOPIC_UNKNOWN`, and with `TOPIC_MISMATCH` where `topicId` is given and the topic was made anew. After a rejection that is
   * retryable it goes on; call again.
   */
  fetch(from: readonly FetchPosition[], options: FetchOptions): Promise<readonly Fetched[]>

  /** Waiting fetches resolve with nothing, later ones reject with `BROKER_CLOSED`. */
  close(): Promise<void>
}

/** One member of a group. It reads what it likes, assigned or not; see `LogReader.fetch`. */
export interface Membership extends Pick<LogReader, 'fetch'> {
  /**
   * Notes how far the group has come, for foreign tools only: Tidemark's own positions live in the service's database. Rejects with `GROUP_FENCED`
   * (retryable) while the broker shares the partitions out anew; nothing was noted then.
   */
  commit(offsets: readonly FetchPosition[]): Promise<void>

  /**
   * Gives the partitions back and leaves. `revoked` is called first for those still held, and awaited as long as `drainTimeoutMs`. Waiting fetches
   * resolve with nothing. Where the broker cannot be reached it resolves all the same; the session expires then. A second call waits for the first.
   */
  leave(): Promise<void>
}

export interface FetchPosition extends TopicPartition {
  readonly offset: number
  /** The topic must still be this one. */
  readonly topicId?: string
  /**
   * Of the leader that wrote the record before `offset`, if known (`Fetched.leaders` tells): a broker that keeps leader epochs then answers
   * `truncated` where the log has lost that record and others have taken its place. Others take no notice. `commit` does neither.
   */
  readonly leaderEpoch?: number
}

/** A stretch of a partition that was written under one leader. Epochs rise along the log. */
export interface LeaderRun {
  readonly leaderEpoch: number
  /** Offset of the first record, or of a mark of the broker's, that was seen of it. */
  readonly from: number
  /** The offset after the last one that was seen of it. */
  readonly to: number
}

export interface FetchOptions {
  /**
   * Stop adding past this many bytes, over all partitions. Logs keep records in batches and give whole ones, so that it is exceeded where the first
   * batch alone is larger (256 KiB at most for postgres, or one record).
   */
  readonly maxBytes: number
  readonly maxWaitMs: number
  readonly signal?: AbortSignal
}

/** What was found in one partition. Partitions without news may be left out. */
export interface Fetched extends TopicPartition {
  readonly records: readonly LogRecord[]
  /** The offset after the last record of the log at the time of the read. */
  readonly endOffset: number
  /** Where to read on: after the last record returned, past holes too. */
  readonly nextOffset: number
  /** The asked offset is not in the log any more, or never was. `records` is empty. */
  readonly outOfRange?: { readonly startOffset: number }
  /**
   * The log has ended below the asked offset meanwhile, and has grown again: not what was read before it stands there now. `records` is empty. Only
   * for positions with a `leaderEpoch`. `endOffset`: of what was read, nothing from there on is left.
   */
  readonly truncated?: { readonly endOffset: number }
  /**
   * Who wrote what was read, up to `nextOffset`, in order; the first may begin before the asked offset. Records cannot tell: what stands between
   * them, aborted ones and marks of the broker's, has leaders, too. Only from brokers that keep leader epochs (Kafka).
   */
  readonly leaders?: readonly LeaderRun[]
}
