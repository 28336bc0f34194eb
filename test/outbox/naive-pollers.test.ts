import { expect, test } from 'vitest'
import { runRelay } from '../../src/outbox/index.ts'
import { pgTransaction } from '../../src/drivers/postgres/foreign-transactions.ts'
import type { PostgresDatabase } from '../../src/drivers/postgres/database.ts'
import type { Session } from '../../src/drivers/postgres/session.ts'
import { message, outboxDatabase } from './support/outbox-database.ts'
import { until } from '../support/until.ts'
import { WireRecorder } from './support/wire-recorder.ts'

const { database, store, reset } = await outboxDatabase('naive')
await WireRecorder.create(database)

interface Published {
  readonly key: string
  readonly version: number
}

/** The poller of the textbooks: what is newer than the last one it has seen, by time or by number. */
function poller(column: 'created_at' | 'seq') {
  let last: unknown = column === 'seq' ? '0' : '-infinity'
  const published: Published[] = []
  return {
    published,
    poll: async () => {
      const rows = await database.query(
        `select aggregateid, payload, ${column}::text as cursor from tidemark.outbox where ${column} > $1 order by ${column}`,
        [last],
      )
      for (const row of rows) published.push(contentOf(row))
      last = rows.at(-1)?.cursor ?? last
    },
  }
}

/** The repair that is often recommended: order by (transaction id, number), and never past the oldest running transaction. */
function xidCursor() {
  let last = ['0', '0']
  const published: Published[] = []
  return {
    published,
    poll: async () => {
      const rows = await database.query(
        `select aggregateid, payload, xid::text as xid, seq::text as seq from tidemark.outbox
         where (xid, seq) > ($1::xid8, $2::bigint) and xid < pg_snapshot_xmin(pg_current_snapshot()) order by xid, seq`,
        last,
      )
      for (const row of rows) published.push(contentOf(row))
      const end = rows.at(-1)
      if (end !== undefined) last = [String(end.xid), String(end.seq)]
    },
  }
}

function contentOf(row: Record<string, unknown>): Published {
  return { key: String(row.aggregateid), version: (JSON.parse(String(row.payload)) as { version: number }).version }
}

async function begin(on: PostgresDatabase): Promise<Session> {
  const session = await on.lease()
  await session.query('begin')
  return session
}

async function commit(session: Session): Promise<void> {
  await session.query('commit')
  session.release()
}

async function relayed(count: number): Promise<Published[]> {
  const wire = new WireRecorder(database, { fences: true })
  await using _relay = runRelay({ store, broker: wire, idleMs: 5, maintain: false })
  await until('the messages on the wire', async () => (await wire.count()) >= count)
  return (await wire.sent()).map(({ key, version }) => ({ key, version }))
}

test.each(['created_at', 'seq'] as const)('a poller by %s loses what commits after a newer one; the relay does not', async (column) => {
  await reset()
  await database.query('truncate wire, wire_owner')
  const naive = poller(column)
  const slow = await begin(database)
  await store.append(pgTransaction(slow.client), [message('slow', 1)])
  const fast = await begin(database)
  await store.append(pgTransaction(fast.client), [message('fast', 1)])
  await commit(fast)
  await naive.poll()
  await commit(slow)
  await naive.poll()
  expect(naive.published).toEqual([{ key: 'fast', version: 1 }])
  expect(await relayed(2)).toEqual(
    expect.arrayContaining([
      { key: 'fast', version: 1 },
      { key: 'slow', version: 1 },
    ]),
  )
})

test('a cursor by (xid, number) changes the order of a key; the relay does not', async () => {
  await reset()
  await database.query('truncate wire, wire_owner')
  const naive = xidCursor()
  // The transaction has its id from an early write, long before it comes to the key.
  const early = await begin(database)
  await early.query('select pg_current_xact_id()')
  await database.transaction((tx) => store.append(tx, [message('k', 1)]))
  await store.append(pgTransaction(early.client), [message('k', 2)])
  await commit(early)
  await until('no older transaction runs', async () => {
    await naive.poll()
    return naive.published.length === 2
  })
  expect(naive.published.map(({ version }) => version)).toEqual([2, 1])
  expect((await relayed(2)).map(({ version }) => version)).toEqual([1, 2])
})
