import assert from 'node:assert/strict'
import { type ErrorCode, TidemarkError } from '../../errors.ts'
import { type Coordinate, formatCoordinate } from '../../message/coordinate.ts'
import type {
  Appender,
  AssignedPartition,
  AssignmentListener,
  Broker,
  Fetched,
  FetchPosition,
  LogRecord,
  Membership,
  MembershipOptions,
  OutgoingRecord,
  Refusal,
  SequencedRecord,
} from '../../message/port.ts'
import { coordinateHeader } from '../../message/wire.ts'

/** What a case asks of the subject for one of its brokers. */
export interface BrokerSettings {
  readonly defaultPartitions?: number
  readonly retentionMs?: number
  readonly maxRecordBytes?: number
}

/**
 * A log of its own for one case, and ways to look at it. `close` ends every broker it made.
 *
 * Beside the traits that are `true`, a subject may offer `trim`, `deleteTopic`, `addPartitions`, and `settings` (that `connect` takes `retentionMs` and `maxRecordBytes`).
 */
export interface BrokerFixture {
  /** A broker as another process would have it: its own connections, the same log. */
  connect(settings?: BrokerSettings): Promise<Broker>
  /** Lets time pass, by whatever clock the log has. A simulated one also runs what is due. */
  elapse(ms: number): Promise<void>
  /** Removes what is past its retention, now. */
  trim?(): Promise<void>
  deleteTopic?(name: string): Promise<void>
  /** Gives a topic so many partitions in all, more than it has. */
  addPartitions?(name: string, partitions: number): Promise<void>
}

/** Waits, a little at a time, until something holds; fails after twenty seconds of the log's time. */
export async function until(fixture: BrokerFixture, what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (let waitedMs = 0; waitedMs < 20_000; waitedMs += 20) {
    if (await holds()) return
    await fixture.elapse(20)
  }
  assert.fail(`waited in vain: ${what}`)
}

/** Waits for a promise that needs time to pass. */
export async function settled<T>(fixture: BrokerFixture, promise: Promise<T>): Promise<T> {
  let over = false
  const end = (): void => void (over = true)
  promise.then(end, end)
  await until(fixture, 'a call to settle', () => over)
  return promise
}

export async function rejects(promise: Promise<unknown>, code: ErrorCode): Promise<TidemarkError> {
  const error = await promise.then(
    () => assert.fail(`expected ${code}, but it resolved`),
    (reason: unknown) => reason,
  )
  if (!TidemarkError.is(error, code)) assert.fail(`expected ${code}, got ${String(error)}`)
  return error
}

export function record(
  topic: string,
  partition: number,
  value: string | Buffer | null,
  rest: Partial<OutgoingRecord> = {},
): OutgoingRecord {
  return { topic, partition, key: null, value: typeof value === 'string' ? Buffer.from(value) : value, headers: [], ...rest }
}

/** A stream that numbers what it sends. */
export interface Sender {
  readonly appender: Appender
  send(...records: readonly OutgoingRecord[]): Promise<readonly Refusal[]>
  /** As a relay does after a lost reply: the last page again, with the coordinates it had. */
  sendAgain(): Promise<readonly Refusal[]>
}

export interface SenderOptions {
  readonly source?: string
  readonly stream?: number
  readonly epoch?: number
  /** Where to go on. @default tick 1 */
  readonly tick?: number
  /** Whether records carry their coordinate as a header, too, as a relay's do. `false` where a case counts bytes or headers. @default true */
  readonly header?: boolean
}

export async function sender(
  broker: Broker,
  topic: string,
  { source = 'source.1', stream = 0, epoch = 1, tick = 1, header = true }: SenderOptions = {},
): Promise<Sender> {
  const appender = await broker.appender({ sourceEpoch: source, generation: 1, stream, epoch, topics: [topic] })
  let page: SequencedRecord[] = []
  let seq = 0
  return {
    appender,
    send(...records) {
      page = records.map((one) => {
        const record = { ...one, coordinate: coordinate(source, stream, tick, (seq += 1)) }
        return header ? withHeader(record) : record
      })
      return appender.append(page)
    },
    sendAgain: () => appender.append(page),
  }
}

/** The record as a relay would send it. */
export function withHeader(record: SequencedRecord & { readonly coordinate: Coordinate }): SequencedRecord {
  return { ...record, headers: [...record.headers, [coordinateHeader, formatCoordinate(record.coordinate)]] }
}

export function coordinate(sourceEpoch: string, stream: number, tick: number, seq: number): Coordinate {
  return { sourceEpoch, generation: 1, stream, tick, seq }
}

/** A member that keeps what it is told. */
export interface Member {
  readonly membership: Membership
  /** What it has now, as `topic/partition`, sorted. */
  held(): string[]
  readonly told: readonly { readonly what: 'assigned' | 'revoked' | 'lost' | 'failed'; readonly partitions: readonly string[] }[]
}

export interface MemberOptions extends MembershipOptions {
  /** Called by `revoked`; the partitions are kept until it resolves. */
  readonly drain?: (partitions: readonly AssignedPartition[]) => Promise<void>
}

export async function member(broker: Broker, { drain = async () => undefined, ...options }: MemberOptions): Promise<Member> {
  const held = new Set<string>()
  const told: { what: 'assigned' | 'revoked' | 'lost' | 'failed'; partitions: string[] }[] = []
  const note = (what: 'assigned' | 'revoked' | 'lost', partitions: readonly AssignedPartition[]): string[] => {
    const names = partitions.map(({ topic, partition }) => `${topic}/${partition}`)
    told.push({ what, partitions: names })
    return names
  }
  const listener: AssignmentListener = {
    assigned(partitions) {
      for (const name of note('assigned', partitions)) {
        assert.ok(!held.has(name), `${name} was assigned twice`)
        held.add(name)
      }
    },
    async revoked(partitions) {
      const names = note('revoked', partitions)
      await drain(partitions)
      for (const name of names) held.delete(name)
    },
    lost(partitions) {
      for (const name of note('lost', partitions)) held.delete(name)
    },
    failed() {
      told.push({ what: 'failed', partitions: [] })
      held.clear()
    },
  }
  const membership = await broker.join(options, listener)
  return { membership, told, held: () => [...held].sort() }
}

/** A member of a group of its own that is there to read. */
export async function reader(broker: Broker, topic: string, group = 'reader'): Promise<Membership> {
  return (await member(broker, { group, topics: [topic] })).membership
}

/** Everything there is from these positions on, as fast as it comes. */
export async function readAll(membership: Membership, from: readonly FetchPosition[], maxBytes = 1_000_000): Promise<LogRecord[]> {
  const positions = new Map(from.map((position) => [`${position.topic}/${position.partition}`, position]))
  const records: LogRecord[] = []
  for (;;) {
    const found: readonly Fetched[] = await membership.fetch([...positions.values()], { maxBytes, maxWaitMs: 0 })
    if (found.length === 0) return records
    for (const { topic, partition, nextOffset, records: more, outOfRange } of found) {
      assert.equal(outOfRange, undefined, `${topic}/${partition} is out of range`)
      records.push(...more)
      positions.set(`${topic}/${partition}`, { topic, partition, offset: nextOffset })
    }
  }
}

export function from(topic: string, partitions: number, offset = 0): FetchPosition[] {
  return Array.from({ length: partitions }, (_, partition) => ({ topic, partition, offset }))
}

export function texts(records: readonly LogRecord[]): (string | null)[] {
  return records.map(({ value }) => (value === null ? null : value.toString()))
}
