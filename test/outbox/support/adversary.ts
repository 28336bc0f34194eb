import { PostgresDatabase } from '../../../src/drivers/postgres/database.ts'
import { append } from '../../../src/drivers/postgres/queries/outbox.ts'
import { pgTransaction } from '../../../src/drivers/postgres/foreign-transactions.ts'
import type { OutboxMessage } from '../../../src/message/outbox-message.ts'
import type { Transaction } from '../../../src/message/transaction.ts'
import { message } from './outbox-database.ts'

/** Numbers from a seed (mulberry32), so that a failing mix can be run again. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
}

export interface AdversarySettings {
  readonly url: string
  readonly writers: number
  readonly keys: number
  readonly seed: number
  readonly prepared: boolean
}

/** What the writers did. */
export interface Harm {
  committed: number
  rolledBack: number
  prepared: number
  deadlocks: number
  long: number
}

/**
 * Writers as unkind as they may be: 40 % take their transaction id early and wait; 1 to 3 keys and 1 to 15 messages a transaction; savepoints,
 * nested, released and rolled back; 5 % roll back, 2 % are prepared and committed by another connection, every 200th stays open for half a second and more.
 *
 * Each message carries the gapless version of its key. Odd keys are ordered by the row of their version, which is updated first; even ones by
 * the publish's own key lock alone: their version is read behind it, and written after it.
 */
export async function harass(settings: AdversarySettings, running: () => boolean): Promise<Harm> {
  const database = new PostgresDatabase({ connectionString: settings.url, maxConnections: settings.writers + 2 })
  const harm: Harm = { committed: 0, rolledBack: 0, prepared: 0, deadlocks: 0, long: 0 }
  const writers = Array.from({ length: settings.writers }, async (_, writer) => {
    const random = seeded(settings.seed * 1_000 + writer)
    for (let turn = 0; running(); turn++) await oneTransaction(database, settings, random, harm, `${settings.seed}-${writer}-${turn}`)
  })
  try {
    await Promise.all(writers)
  } finally {
    await database.close()
  }
  return harm
}

async function oneTransaction(
  database: PostgresDatabase,
  settings: AdversarySettings,
  random: () => number,
  harm: Harm,
  name: string,
): Promise<void> {
  const session = await database.lease()
  const { client } = session
  const tx = pgTransaction(client)
  try {
    await client.query('begin')
    if (random() < 0.4) {
      await client.query('select pg_current_xact_id()')
      await pause(random() * 15)
    }
    const written = await publishSome(tx, settings.keys, random)
    if (random() < 0.005) {
      harm.long += 1
      await pause(500 + random() * 1_000)
    } else if (random() < 0.2) await pause(random() * 5)
    const fate = random()
    if (fate < 0.05) {
      await client.query('rollback')
      harm.rolledBack += 1
    } else if (fate < 0.07 && settings.prepared) {
      await client.query(`prepare transaction '${name}'`)
      await pause(random() * 200)
      await database.query(`commit prepared '${name}'`)
      harm.prepared += 1
      harm.committed += written
    } else {
      await client.query('commit')
      harm.committed += written
    }
  } catch (error) {
    await client.query('rollback')
    // A writer that locks keys in several calls may meet another: the server ends one of the two, and its caller tries again.
    if (!(error instanceof Error && 'code' in error && error.code === '40P01')) throw error
    harm.deadlocks += 1
  } finally {
    session.release()
  }
}

/** Publishes 1 to 15 messages of 1 to 3 keys of one kind; returns how many stay if the transaction commits. */
async function publishSome(tx: Transaction, keyCount: number, random: () => number): Promise<number> {
  const byRow = random() < 0.5
  const keys = pickKeys(keyCount, byRow, random)
  const counts = keys.map(() => 1 + Math.floor(random() * 5))
  const nested = random() < 0.3
  if (nested) await tx.query('savepoint outer_one')
  if (nested && random() < 0.5) await undone(tx, keys, random)
  const messages = byRow ? await lockedByRow(tx, keys, counts) : await lockedByPublish(tx, keys, counts)
  if (nested) await tx.query('savepoint inner_one')
  await append(tx, messages)
  if (!byRow)
    await tx.query('update version set v = v + c from unnest($1::text[], $2::int[]) as n(k, c) where version.key = n.k', [keys, counts])
  if (nested) await tx.query('release savepoint outer_one')
  return messages.length
}

/** Work in a savepoint that is taken back: its rows, its numbers and its subtransaction leave nothing but holes. */
async function undone(tx: Transaction, keys: readonly string[], random: () => number): Promise<void> {
  await tx.query('savepoint taken_back')
  await append(
    tx,
    keys.map((key) => message(key, -1)),
  )
  await pause(random() * 5)
  await tx.query('rollback to savepoint taken_back')
}

async function lockedByRow(tx: Transaction, keys: readonly string[], counts: readonly number[]): Promise<OutboxMessage[]> {
  const messages: OutboxMessage[] = []
  for (const [i, key] of keys.entries()) {
    const [row] = await tx.query<{ v: number }>('update version set v = v + $2 where key = $1 returning v', [key, counts[i]])
    messages.push(...versions(key, row!.v - counts[i]! + 1, counts[i]!))
  }
  return messages
}

/** The very statement of a publish, so that what orders these keys is its lock and nothing else. */
async function lockedByPublish(tx: Transaction, keys: readonly string[], counts: readonly number[]): Promise<OutboxMessage[]> {
  await tx.query('savepoint locks')
  await append(
    tx,
    keys.map((key) => message(key, -1)),
  )
  // Rolling back to a savepoint would give the locks back, so the rows are removed by hand; nobody has seen them.
  await tx.query('delete from tidemark.outbox where xid = pg_current_xact_id()')
  const rows = await tx.query<{ key: string; v: number }>('select key, v from version where key = any($1)', [keys])
  const known = new Map(rows.map(({ key, v }) => [key, v]))
  return keys.flatMap((key, i) => versions(key, known.get(key)! + 1, counts[i]!))
}

function versions(key: string, from: number, count: number): OutboxMessage[] {
  return Array.from({ length: count }, (_, i) => message(key, from + i))
}

/** Sorted, as everybody should who locks rows. */
function pickKeys(count: number, odd: boolean, random: () => number): string[] {
  const half = count / 2
  const picked = new Set(Array.from({ length: 1 + Math.floor(random() * 3) }, () => 2 * Math.floor(random() * half) + (odd ? 1 : 0)))
  return [...picked].sort((a, b) => a - b).map((n) => `key-${String(n).padStart(3, '0')}`)
}

/** The point is the overlap of transactions, which only time makes. */
function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
