import type { GroupKey, HeldKey, HoldChange, KeyHolds } from '../../consumer/hold/port.ts'
import { laneOf } from '../../consumer/partition/lane-of.ts'
import type { Row } from '../../message/transaction.ts'
import { type PostgresDatabase, commit } from './database.ts'
import { letterTransaction } from './letter-transaction.ts'
import { defaultSchema, quotedSchema } from './migrations/schema-name.ts'
import { insertAudit } from './queries/audit.ts'
import { noteHolds } from './queries/dead-letter-redrive.ts'
import * as holds from './queries/key-hold.ts'
import type { Statement } from './statement-run.ts'
import { whileLanesChange } from './while-lanes-change.ts'

/** Keys that somebody holds, in Postgres. Statements: `queries/key-hold.ts`. */
export class PostgresKeyHolds implements KeyHolds {
  readonly #database: PostgresDatabase
  readonly #schema: string

  constructor({ database, schema = defaultSchema }: { readonly database: PostgresDatabase; readonly schema?: string }) {
    this.#database = database
    this.#schema = quotedSchema(schema)
  }

  hold(key: GroupKey, change: HoldChange): Promise<HeldKey | null> {
    return whileLanesChange(() => this.#holdOnce(key, change))
  }

  async #holdOnce(key: GroupKey, change: HoldChange): Promise<HeldKey | null | 'again'> {
    const schema = this.#schema
    const lanes = (await this.#rows(holds.findPartitions(schema, key))).map((row) => keyLane(row, key.key))
    if (lanes.length === 0) return null
    return letterTransaction<HeldKey | 'again'>(this.#database, async (session) => {
      const [raised] = await session.run([holds.holdKeyLanes(schema, key.group, lanes)])
      if (raised!.rows.length < lanes.length) return { end: 'undo', result: 'again' }
      const results = await commit(session, [
        ...raised!.rows.flatMap((row) => this.#noted(key, row)),
        ...change.audit.map((line) => insertAudit(schema, line)),
        holds.holdKey(schema, key, lanes, change),
        holds.heldKeys(schema, null, key),
      ])
      return { end: 'committed', result: holds.heldKeyOf(results.at(-2)!.rows[0]!) }
    })
  }

  release(key: GroupKey, { audit }: Pick<HoldChange, 'audit'>): Promise<boolean> {
    const schema = this.#schema
    return letterTransaction(this.#database, async (session) => {
      const [locked] = await session.run([holds.lockHeldKey(schema, key)])
      if (locked!.rows.length === 0) return { end: 'undo', result: false }
      const places = locked!.rows.map((row) => ({ topicId: String(row['topic_id']), partition: Number(row['partition']) }))
      await commit(session, [
        holds.endHold(schema, key),
        holds.dropEmpty(schema, key, places),
        ...audit.map((line) => insertAudit(schema, line)),
      ])
      return { end: 'committed', result: true }
    })
  }

  async held(group?: string): Promise<readonly HeldKey[]> {
    return (await this.#rows(holds.heldKeys(this.#schema, group ?? null, null))).map(holds.heldKeyOf)
  }

  /** So that batches under way commit that ran none of its messages, and their owners learn of the key. */
  #noted({ group, topic, key }: GroupKey, row: Row): Statement[] {
    const partition = { group, topic, topicId: String(row['topic_id']), partition: Number(row['partition']) }
    const hold = { lane: Number(row['lane']), epoch: Number(row['epoch']), holds: Number(row['holds']), keys: [key] }
    return noteHolds(this.#schema, partition, [hold])
  }

  async #rows(statement: Statement): Promise<readonly Row[]> {
    const [result] = await this.#database.use((session) => session.run([statement]))
    return result!.rows
  }
}

function keyLane(row: Row, key: Buffer): holds.KeyLane {
  const lanes = Number(row['lanes'])
  return { topicId: String(row['topic_id']), partition: Number(row['partition']), lanes, lane: laneOf(key, 0, lanes) }
}
