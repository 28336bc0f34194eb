import { randomUUID } from 'node:crypto'
import { afterAll } from 'vitest'
import type { BatchEnd, DeadLetter, LanePosition, PartitionRef } from '../../../src/consumer/port.ts'
import { PostgresDatabase } from '../../../src/drivers/postgres/database.ts'
import { PostgresConsumerStore, PostgresDeadLetterStore } from '../../../src/drivers/postgres/index.ts'
import { migrate } from '../../../src/drivers/postgres/migrations/migrate.ts'
import type { LogRecord } from '../../../src/message/port.ts'
import { testDatabase } from '../../support/postgres.ts'

export interface LetterDatabase {
  readonly url: string
  readonly database: PostgresDatabase
  readonly consumer: PostgresConsumerStore
  readonly store: PostgresDeadLetterStore
  rows<R extends Record<string, unknown>>(text: string, params?: readonly unknown[]): Promise<R[]>
  /** A partition of a group of its own, owned. */
  partition(lanes?: number): Promise<OwnedPartition>
}

/** A database with the tables of a service. Call it at the top level of the test file. */
export async function letterDatabase(label: string): Promise<LetterDatabase> {
  const test = await testDatabase(label)
  const database = new PostgresDatabase({ connectionString: test.connectionString(), maxConnections: 12 })
  afterAll(() => database.close())
  await migrate(database, { set: 'service' })
  const consumer = new PostgresConsumerStore({ database })
  return {
    url: test.connectionString(),
    database,
    consumer,
    store: new PostgresDeadLetterStore({ database }),
    rows: (text, params) => database.query(text, params),
    async partition(lanes = 1) {
      const topic = { group: `group ${randomUUID()}`, topic: 'things', topicId: randomUUID() }
      const partition = { ...topic, partition: 0 }
      await consumer.makePositions({ topic, lanes, first: [0], later: [0] })
      const taken = await consumer.takeOver({ partition, lockTimeoutMs: 1_000 })
      return new OwnedPartition(consumer, partition, taken.lanes)
    },
  }
}

/** What an owner does, message by message. */
export class OwnedPartition {
  readonly ref: PartitionRef
  readonly #consumer: PostgresConsumerStore
  readonly #lanes: LanePosition[]
  #next = 0

  constructor(consumer: PostgresConsumerStore, ref: PartitionRef, lanes: readonly LanePosition[]) {
    this.#consumer = consumer
    this.ref = ref
    this.#lanes = [...lanes]
  }

  get nextOffset(): number {
    return this.#next
  }

  record(key: string | null): LogRecord {
    const offset = this.#next++
    const bytes = key === null ? null : Buffer.from(key)
    return {
      topic: 'things',
      partition: 0,
      offset,
      timestamp: 1_750_000_000_000,
      key: bytes,
      value: Buffer.from(`{"n":${offset}}`),
      headers: [],
    }
  }

  /** The n-th offset's message is dead. Returns the offset. */
  async bury(key: string | null, policy: 'block' | 'skip' = key === null ? 'skip' : 'block', lane = 0): Promise<number> {
    const record = this.record(key)
    await this.commit(lane, { deadLetters: [deadLetter(record, policy)] })
    return record.offset
  }

  async queue(key: string, lane = 0): Promise<number> {
    const record = this.record(key)
    await this.commit(lane, { queue: [record] })
    return record.offset
  }

  async commit(lane: number, end: Partial<Pick<BatchEnd, 'deadLetters' | 'queue' | 'ran'>>): Promise<void> {
    const position = this.#lanes[lane]!
    const batch = await this.#consumer.begin({ ...this.ref, lane })
    const base = { position, nextOffset: this.#next, leaderEpoch: null, highWater: position.highWater, handled: [], publish: [] }
    const done = await batch.commit({ ...base, ...noFailures, queue: [], ...end })
    await batch.rollBack()
    if (done.outcome !== 'committed') throw new Error(`the batch was not committed: ${done.outcome}`)
    this.#lanes[lane] = done.position
  }

  /** Another partition of the same topic and group, owned, with one lane. */
  async sibling(number: number): Promise<OwnedPartition> {
    const partition = { ...this.ref, partition: number }
    const { group, topic, topicId } = partition
    const first = Array.from({ length: number + 1 }, () => 0)
    await this.#consumer.makePositions({ topic: { group, topic, topicId }, lanes: 1, first, later: first })
    const { lanes } = await this.#consumer.takeOver({ partition, lockTimeoutMs: 1_000 })
    return new OwnedPartition(this.#consumer, partition, lanes)
  }

  lane(lane: number): LanePosition {
    return this.#lanes[lane]!
  }

  async reload(lane = 0): Promise<readonly string[]> {
    const found = await this.#consumer.reload({ ...this.ref, lane })
    this.#lanes[lane] = found!.position
    return found!.parkedKeys.map((key) => Buffer.from(key, 'base64').toString())
  }
}

/** A batch in which nothing fails, with room for whatever waits. */
export const noFailures = {
  park: [],
  deadLetters: [],
  bounds: { bytesPerKey: 1_000_000_000, bytesPerPartition: 1_000_000_000 },
  inFlight: 1,
  ran: [],
}

export function deadLetter(record: LogRecord, policy: 'block' | 'skip'): DeadLetter {
  return {
    record,
    messageId: `id-${record.offset}`,
    type: 'Thing',
    handler: 'handle things',
    policy,
    errorClass: 'TypeError',
    reason: 'cannot be handled',
    stack: null,
    frame: null,
    fingerprint: 'TypeError of Thing',
    attempts: [{ at: 1_750_000_000_500, error: 'cannot be handled' }],
    codeVersion: null,
  }
}
