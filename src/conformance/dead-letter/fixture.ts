import assert from 'node:assert/strict'
import type { KeyHolds } from '../../consumer/index.ts'
import type { BatchEnd, ConsumerStore, DeadLetter, LanePosition, PartitionRef } from '../../consumer/port.ts'
import type { DeadLetterStore, Letter, RedriveOutcome } from '../../dead-letter/index.ts'
import { TidemarkError } from '../../errors.ts'
import type { LogRecord } from '../../message/port.ts'
import type { AuditEntry, AuditStore } from '../../operation/index.ts'

/** A message of a parked key. */
export interface WaitingMessage {
  readonly offset: number
  readonly dead: boolean
  readonly value: string | null
}

/** Both sides of the same tables: consumers write letters, operators work with them. */
export interface DeadLetterStoreFixture {
  readonly store: DeadLetterStore
  readonly consumer: ConsumerStore
  readonly holds: KeyHolds
  /** The log that lines of changes go to. */
  readonly audit: Pick<AuditStore, 'listAudit'>
  /** A group that nobody else uses. */
  readonly group: string
  /** What waits behind parked keys, by offset. */
  waiting(partition: PartitionRef): Promise<readonly WaitingMessage[]>
}

export const actor = 'operator'

/** A line about letters of a group. */
export function auditLine(group: string, verb: string): AuditEntry {
  const who = { actor: { id: actor, roles: ['operator'] }, reason: null, origin: 'api', host: 'here' } as const
  return { ...who, verb, target: { type: group, id: null }, outcome: 'done', details: {} }
}

/** A partition with one lane, and what its owner knows. */
export class Owner {
  readonly partition: PartitionRef
  readonly #consumer: ConsumerStore
  position: LanePosition
  /** What the last batch was told of keys held by others. */
  held: readonly string[] = []

  private constructor(consumer: ConsumerStore, partition: PartitionRef, position: LanePosition) {
    this.#consumer = consumer
    this.partition = partition
    this.position = position
  }

  static async of({ consumer, group }: DeadLetterStoreFixture, topicName = 'things'): Promise<Owner> {
    const topic = { group, topic: topicName, topicId: `id of ${topicName}` }
    const partition = { ...topic, partition: 0 }
    await consumer.makePositions({ topic, lanes: 1, first: [0], later: [0] })
    const taken = await consumer.takeOver({ partition, lockTimeoutMs: 1_000 })
    return new Owner(consumer, partition, taken.lanes[0]!)
  }

  /** Commits a batch of one message: dead, queued behind its key, or one that ran. */
  async take(end: Partial<Pick<BatchEnd, 'deadLetters' | 'queue' | 'ran'>>): Promise<string> {
    const batch = await this.#consumer.begin({ ...this.partition, lane: this.position.lane })
    const { nextOffset, highWater } = this.position
    const base = { position: this.position, nextOffset: nextOffset + 1, leaderEpoch: null, highWater, handled: [], publish: [] }
    const bounds = { bytesPerKey: 1_000_000, bytesPerPartition: 1_000_000 }
    const done = await batch.commit({ ...base, queue: [], park: [], deadLetters: [], bounds, inFlight: 1, ran: [], ...end })
    await batch.rollBack()
    if (done.outcome === 'committed') {
      this.position = done.position
      this.held = done.held.map(textOf)
    }
    return done.outcome
  }

  bury(key: string | null, rest: Partial<DeadLetter> = {}, value?: string): Promise<string> {
    return this.take({ deadLetters: [letter(this.#record(key, value), rest)], ran: key === null ? [] : [Buffer.from(key)] })
  }

  /** A message of each key ran. */
  run(...keys: readonly string[]): Promise<string> {
    return this.take({ ran: keys.map((key) => Buffer.from(key)) })
  }

  queue(key: string): Promise<string> {
    return this.take({ queue: [this.#record(key)] })
  }

  /** What others have done with keys of the lane, `waiting` being what the owner takes to wait; `null`: that is not all there is. */
  async catchUp(
    waiting: readonly string[] = [],
  ): Promise<{ readonly held: readonly string[]; readonly released: readonly string[] } | null> {
    const asked = waiting.map((key) => Buffer.from(key).toString('base64'))
    const news = await this.#consumer.catchUp({ ...this.partition, lane: this.position.lane }, this.position, asked)
    if (news === null) return null
    this.position = news.position
    return { held: news.held.map(textOf), released: news.released.map(textOf) }
  }

  async reload(): Promise<readonly string[]> {
    const found = await this.#consumer.reload({ ...this.partition, lane: this.position.lane })
    this.position = found!.position
    return found!.parkedKeys.map(textOf)
  }

  #record(key: string | null, value = '{"n":1}'): LogRecord {
    const bytes = key === null ? null : Buffer.from(key)
    const offset = this.position.nextOffset
    const headers: LogRecord['headers'] = [
      ['kind', 'plain'],
      ['kind', 'again'],
      ['raw', Buffer.from([0xff, 0])],
      ['none', null],
    ]
    return { topic: 'things', partition: 0, offset, timestamp: 1_750_000_000_123, key: bytes, value: Buffer.from(value), headers }
  }
}

/** Of a key in base64. */
export function textOf(key: string): string {
  return Buffer.from(key, 'base64').toString()
}

function letter(of: LogRecord, rest: Partial<DeadLetter>): DeadLetter {
  return {
    record: of,
    messageId: `id-${of.offset}`,
    type: 'Thing',
    handler: 'handle things',
    policy: of.key === null ? 'skip' : 'block',
    errorClass: 'TypeError',
    reason: 'cannot be handled',
    stack: 'TypeError: cannot be handled\n    at place',
    frame: 'place',
    fingerprint: `${rest.errorClass ?? 'TypeError'} of ${rest.type === undefined ? 'Thing' : rest.type}`,
    attempts: [{ at: 1_750_000_000_500, error: 'cannot be handled' }],
    codeVersion: 'v1',
    ...rest,
  }
}

/** The one letter at an offset. */
export async function letterAt({ store, group }: DeadLetterStoreFixture, offset: number): Promise<Letter> {
  const { letters } = await store.list({ groups: [group], states: ['dead', 'redriven', 'discarded'], archived: 'any' })
  return letters.find((one) => one.offset === offset)!
}

export async function isRefused(work: Promise<unknown>): Promise<void> {
  await assert.rejects(work, (error) => TidemarkError.is(error, 'DEAD_LETTER_CONFLICT'))
}

export function outcomes(all: readonly RedriveOutcome[]): readonly string[] {
  return all.map((one) => (one.outcome === 'redriven' ? 'redriven' : one.reason))
}

export const offsets = (all: readonly Letter[]): readonly number[] => all.map(({ offset }) => offset)

/** Any message of a key. */
export function record(offset: number, key: string): LogRecord {
  return {
    topic: 'things',
    partition: 0,
    offset,
    timestamp: 1_750_000_000_123,
    key: Buffer.from(key),
    value: Buffer.from('{}'),
    headers: [],
  }
}
