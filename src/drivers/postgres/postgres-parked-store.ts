import type {
  HeadFailure,
  LeaseRequest,
  LeasedKey,
  ParkedRecord,
  ParkedStore,
  RetryTransaction,
  SplitKeys,
} from '../../consumer/parked-port.ts'
import type { PartitionRef } from '../../consumer/port.ts'
import { crashPoint } from '../../internal/crash-point.ts'
import type { Row } from '../../message/transaction.ts'
import { type PostgresDatabase, connectionError, rollBack } from './database.ts'
import { refusal } from './handler-transaction.ts'
import { quotedSchema } from './migrations/schema-name.ts'
import { PostgresRetry } from './postgres-retry.ts'
import { bury } from './queries/dead-letter.ts'
import { appendStatements } from './queries/outbox.ts'
import { attemptsFromJson, headersFromJson } from './queries/record-columns.ts'
import { endStandstill } from './queries/relay.ts'
import * as retry from './queries/retry.ts'
import { splitKeys, splitKeysOf } from './queries/split-keys.ts'
import type { Statement } from './statement-run.ts'

interface ParkedSettings {
  readonly database: PostgresDatabase
  readonly schema: string
  readonly standstillMs: number
}

const begin: Statement = { text: 'begin isolation level read committed' }
const end: Statement = { text: 'commit' }

/** Parked keys in Postgres, as retriers see them. */
export class PostgresParkedStore implements ParkedStore {
  readonly #settings: ParkedSettings
  readonly #schema: string

  constructor(settings: ParkedSettings) {
    this.#settings = settings
    this.#schema = quotedSchema(settings.schema)
  }

  async lease(request: LeaseRequest): Promise<readonly LeasedKey[]> {
    return this.#settings.database.use(async (session) => {
      try {
        // Whoever freezes before the second round trip has the keys locked, and no lease yet that could end.
        const [, , leased] = await session.run([begin, endStandstill(this.#settings.standstillMs), retry.leaseKeys(this.#schema, request)])
        const keys = leased!.rows.map((row) => leasedKey(row, request.group))
        if (keys.length > 0) crashPoint('retry:in-lease')
        const places = keys.map(({ partition: { topicId, partition }, key }) => ({ topicId, partition, key }))
        const limit = { messages: request.maxMessages, bytes: request.maxBytes }
        const read = keys.length === 0 ? [] : [retry.firstMessages(this.#schema, request.group, places, limit)]
        const [messages] = await session.run([...read, end])
        crashPoint('retry:after-lease')
        const all = keys.map((key, i) => ({ ...key, messages: messagesOf(messages!.rows, i + 1) }))
        for (const key of all) if (key.messages.length === 0) await session.run(this.#settled(key))
        return all.filter(({ messages }) => messages.length > 0)
      } catch (error) {
        await rollBack(session)
        throw connectionError(error, session)
      }
    })
  }

  /** A key that is due although nothing of it can be tried: an older version of this code has noted a dead head, and not that the key waits for somebody. */
  #settled(key: LeasedKey): Statement[] {
    return [
      begin,
      retry.giveBackLeases(this.#schema, [key], 'untried', 0),
      retry.releaseIfEmpty(this.#schema, [key]),
      retry.blockIfDead(this.#schema, [key]),
      end,
    ]
  }

  async begin(keys: readonly LeasedKey[]): Promise<RetryTransaction> {
    const { database, schema, standstillMs } = this.#settings
    return new PostgresRetry(await database.lease(), { schema, keys, standstillMs })
  }

  async failed(key: LeasedKey, failure: HeadFailure): Promise<boolean> {
    const head = key.messages[0]!.record
    crashPoint('retry:before-failure')
    const isNoted = await this.#settings.database.use(async (session) => {
      try {
        await session.run([
          begin,
          ...(failure.do === 'bury' ? appendStatements(this.#settings.schema, failure.publish) : []),
          retry.lockLeases(this.#schema, [key]),
          retry.requireHeads(this.#schema, [{ key, offsets: [head.offset] }]),
          ...this.#noting(key, failure),
          end,
        ])
        return true
      } catch (error) {
        await rollBack(session)
        if (refusal(error) !== null) return false
        throw connectionError(error, session)
      }
    })
    crashPoint('retry:after-failure')
    return isNoted
  }

  async renew(keys: readonly LeasedKey[], leaseMs: number): Promise<void> {
    await this.#changed(keys, (some) => retry.renewLeases(this.#schema, some, leaseMs))
  }

  async giveBack(keys: readonly LeasedKey[], how: 'tried' | 'untried', afterMs: number): Promise<void> {
    await this.#changed(keys, (some) => retry.giveBackLeases(this.#schema, some, how, afterMs))
  }

  async refund(partition: PartitionRef, keys: readonly Buffer[]): Promise<void> {
    await this.#settings.database.use((session) => session.run([retry.refundKeys(this.#schema, partition, keys)]))
  }

  async waiting(group: string): Promise<number> {
    const [result] = await this.#settings.database.use((session) => session.run([retry.waitingOf(this.#schema, group)]))
    return Number(result!.rows[0]!['messages'])
  }

  async splitKeys(group: string): Promise<readonly SplitKeys[]> {
    const [result] = await this.#settings.database.use((session) => session.run([splitKeys(this.#schema, group)]))
    return splitKeysOf(result!.rows)
  }

  /** A retrier leases keys of one group. */
  async #changed(keys: readonly LeasedKey[], statement: (keys: readonly LeasedKey[]) => Statement): Promise<void> {
    if (keys.length > 0) await this.#settings.database.use((session) => session.run([statement(keys)]))
  }

  #noting(key: LeasedKey, failure: HeadFailure): Statement[] {
    const { offset } = key.messages[0]!.record
    if (failure.do === 'park') return [retry.noteFailure(this.#schema, key, failure)]
    const letter = bury(this.#schema, key.partition, failure.letter)
    if (failure.letter.policy === 'block') return [letter, retry.blockHead(this.#schema, key, offset)]
    // The letter it was before, if any, is this one again, and not at its end.
    return [
      retry.removeMessages(this.#schema, [{ key, offsets: [offset] }]),
      retry.releaseIfEmpty(this.#schema, [key]),
      retry.blockIfDead(this.#schema, [key]),
      letter,
    ]
  }
}

function leasedKey(row: Row, group: string): LeasedKey {
  return {
    partition: { group, topic: String(row['topic']), topicId: String(row['topic_id']), partition: Number(row['partition']) },
    key: row['key'] as Buffer,
    token: String(row['lease']),
    attempts: Number(row['attempts']),
    failures: attemptsFromJson(String(row['failures'])),
    crashes: Number(row['crashes']),
    messages: [],
  }
}

/** Those of one key, up to the first dead one. */
function messagesOf(rows: readonly Row[], place: number): readonly ParkedRecord[] {
  const own = rows.filter((row) => row['place'] === place)
  const dead = own.findIndex((row) => row['dead'] === true)
  return own.slice(0, dead === -1 ? own.length : dead).map(parkedRecord)
}

function parkedRecord(row: Row): ParkedRecord {
  return {
    record: {
      topic: String(row['topic']),
      partition: Number(row['partition']),
      offset: Number(row['log_offset']),
      timestamp: Math.round(Number(row['log_time'])),
      key: row['keyless'] === true ? null : (row['key'] as Buffer),
      value: row['value'] as Buffer | null,
      headers: headersFromJson(String(row['headers'])),
    },
    letterId: row['letter_id'] === null ? null : String(row['letter_id']),
  }
}
