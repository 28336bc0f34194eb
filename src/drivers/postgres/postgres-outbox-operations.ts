import { topicOf } from '../../message/topic.ts'
import type { Row } from '../../message/transaction.ts'
import type {
  DiscardOptions,
  KeyRef,
  OutboxOperations,
  OutboxStatus,
  ParkedKey,
  RebasePlan,
  ReleaseOptions,
  StreamStatus,
} from '../../outbox/operations.ts'
import type { PostgresDatabase } from './database.ts'
import { defaultSchema, quotedSchema } from './migrations/schema-name.ts'
import { insertAudit } from './queries/audit.ts'
import * as operations from './queries/outbox-operations.ts'
import { movedFrom } from './relay-ownership.ts'

/** Ids of one insert: their array must fit into a message of the protocol with much room. */
const idsPerInsert = 10_000

/** The operator's side of the outbox in Postgres. Statements: `queries/outbox-operations.ts`. */
export class PostgresOutboxOperations implements OutboxOperations {
  readonly #database: PostgresDatabase
  readonly #schema: string

  constructor({ database, schema = defaultSchema }: { readonly database: PostgresDatabase; readonly schema?: string }) {
    this.#database = database
    this.#schema = quotedSchema(schema)
  }

  async status(): Promise<OutboxStatus> {
    const [streams, parts, discarded, numbers] = await this.#database.use((session) =>
      session.run([
        operations.streams(this.#schema),
        operations.parts(this.#schema),
        operations.discardedCount(this.#schema),
        operations.lastNumber(this.#schema),
      ]),
    )
    const partitions = parts!.rows.map(({ name, lo, hi, state }) => ({
      name: String(name),
      lo: Number(lo),
      hi: Number(hi),
      state: String(state),
    }))
    const end = Math.max(0, ...partitions.filter(({ state }) => state === 'open').map(({ hi }) => hi))
    return {
      streams: streams!.rows.map(streamStatus),
      rowsLeft: Math.max(0, end - Number(numbers!.rows[0]!.drawn) - 1),
      partitions,
      discarded: Number(discarded!.rows[0]!.count),
    }
  }

  async parked(): Promise<readonly ParkedKey[]> {
    const { text } = operations.parkedKeys(this.#schema)
    const rows = await this.#database.query(text)
    return rows.map((row) => ({
      ...keyRef(row),
      stream: Number(row.stream),
      seq: Number(row.from_seq),
      id: row.id as string | null,
      reason: String(row.reason),
      parkedAt: row.parked_at as Date,
      held: Number(row.held),
      releasing: row.releasing === true,
    }))
  }

  async release(keys: readonly KeyRef[], { audit }: ReleaseOptions = {}): Promise<readonly KeyRef[]> {
    const types = keys.map(({ aggregateType }) => aggregateType)
    const ids = keys.map(({ aggregateId }) => aggregateId)
    return this.#database.transaction(async (_tx, session) => {
      const [result] = await session.run([operations.release(this.#schema, types, ids)])
      const released = result!.rows.map(keyRef)
      if (audit !== undefined && released.length > 0) await session.run(released.map((key) => insertAudit(this.#schema, audit(key))))
      return released
    })
  }

  async discard(key: KeyRef, { actor, reason = 'the broker refused it', all = false, audit }: DiscardOptions): Promise<number> {
    const statement = operations.discard(this.#schema, key.aggregateType, key.aggregateId, all, actor, reason)
    return this.#database.transaction(async (_tx, session) => {
      const [result] = await session.run([statement])
      const { count } = result!
      const line = audit === undefined ? null : { ...audit, details: { ...audit.details, messages: count } }
      if (line !== null && count > 0) await session.run([insertAudit(this.#schema, line)])
      return count
    })
  }

  async rebasePlan(): Promise<RebasePlan> {
    const [streams, foreign, known, waiting] = await this.#database.use((session) =>
      session.run([
        operations.rebaseStreams(this.#schema),
        operations.foreignRows(this.#schema),
        operations.knownTopics(this.#schema),
        operations.waitingTopics(this.#schema),
      ]),
    )
    const rows = streams!.rows.filter(({ stream }) => stream !== null)
    const topics = [
      ...known!.rows.map(({ topic }) => String(topic)),
      ...waiting!.rows.map(({ aggregatetype, topic }) => (topic === null ? topicOf(String(aggregatetype)) : String(topic))),
    ]
    return {
      sourceEpoch: String(streams!.rows[0]!.source_epoch),
      streams: rows.map(({ stream, generation, tick, finished }) => ({
        stream: Number(stream),
        generation: Number(generation),
        tick: Number(tick),
        unfinished: finished !== true,
      })),
      since: new Date(Math.min(Date.now(), ...rows.map(({ seen_at }) => (seen_at as Date).getTime()))),
      topics: [...new Set(topics)].sort(),
      foreignXids: foreign!.rows[0]!.foreign === true || rows.some((row) => row.foreign === true),
    }
  }

  async rebase(skip: ReadonlyMap<number, readonly string[]>, { fromDump }: { readonly fromDump: boolean }): Promise<void> {
    await this.#database.transaction(async (_tx, session) => {
      await session.run([{ text: `delete from ${this.#schema}.relay_skip` }])
      for (const [stream, ids] of skip) {
        for (let i = 0; i < ids.length; i += idsPerInsert) {
          await session.run([operations.skipIds(this.#schema, stream, ids.slice(i, i + idsPerInsert))])
        }
      }
      // Which rows are published is told by the old snapshots, so they are looked at before the new life sets others.
      await session.run([...(fromDump ? operations.rewriteXids(this.#schema) : []), ...operations.newLife(this.#schema)])
    })
  }
}

function keyRef({ aggregatetype, aggregateid }: Row): KeyRef {
  return { aggregateType: String(aggregatetype), aggregateId: String(aggregateid) }
}

function streamStatus(row: Row): StreamStatus {
  return {
    stream: Number(row.stream),
    streams: Number(row.streams),
    sourceEpoch: String(row.source_epoch),
    generation: Number(row.generation),
    epoch: Number(row.epoch),
    tick: Number(row.tick),
    finished: row.finished === true,
    owner: row.owner as string | null,
    silentMs: Number(row.silent_ms),
    publishedAt: row.done_at as Date | null,
    unpublished: Number(row.unpublished),
    oldestUnpublishedMs: row.oldest_ms === null ? null : Number(row.oldest_ms),
    parkedKeys: Number(row.parked),
    heldMessages: Number(row.held),
    moved: movedFrom(row),
  }
}
