import { afterAll, expect, test } from 'vitest'
import { pgTransaction } from '../../src/drivers/postgres/foreign-transactions.ts'
import type { Session } from '../../src/drivers/postgres/session.ts'
import type { RelayState } from '../../src/outbox/index.ts'
import { durableServer } from '../support/postgres.ts'
import { message, outboxDatabase } from './support/outbox-database.ts'

// Interleavings in which every shorter rule for the floor of a tick loses a row: each was met by chance first, and is made on purpose here.

// On a server of its own: transactions of other test files would be in the snapshots.
const server = await durableServer()
const { database, store, publish } = await outboxDatabase('floors', {}, (label) => server.database(label))
const stream = await store.openStream(0)
const state = (await stream.takeOver({ owner: 'test', leaseMs: 60_000 })) as RelayState
afterAll(() => stream.close('stopped'))
let cur = state.cur

/** One tick to its end; the versions it publishes, in order. */
async function tick(): Promise<number[]> {
  if (!(await stream.probe(cur)).rows) return []
  const ticked = await stream.tick(false)
  if (typeof ticked === 'string') throw new Error(`the probe found rows, the tick said ${ticked}`)
  cur = ticked.cur
  const versions: number[] = []
  for (let after = ticked.tick!.doneSeq; ;) {
    const page = await stream.page(ticked.tick!, after, 2)
    versions.push(...page.rows.map(({ payload }) => (JSON.parse(payload.toString()) as { version: number }).version))
    expect(await stream.checkpoint(ticked.tick!, page)).toBe(true)
    if (!page.full) return versions
    after = page.last
  }
}

async function begin(): Promise<Session> {
  const session = await database.lease()
  await session.query('begin')
  await session.query('select pg_current_xact_id()')
  return session
}

async function append(session: Session, key: string, version: number): Promise<void> {
  await store.append(pgTransaction(session.client), [message(key, version)])
}

async function commit(session: Session): Promise<void> {
  await session.query('commit')
  session.release()
}

test('a low number of a transaction that the snapshot does not list, because none above it had ended, is published', async () => {
  const lower = await begin()
  const higher = await begin()
  await append(higher, 'a', 1)
  await append(lower, 'b', 2)
  await commit(lower)
  // The snapshot's upper end is the running transaction's own id, so it is not in the list of running ones.
  expect(await tick()).toEqual([2])
  const [row] = await database.query<{ listed: string }>('select count(*) as listed from tidemark.relay, pg_snapshot_xip(cur)')
  expect(row!.listed).toBe('0')
  await commit(higher)
  expect(await tick()).toEqual([1])
})

test('a low number of a transaction that the snapshot lists as running is published', async () => {
  const long = await begin()
  await append(long, 'a', 1)
  await publish(message('b', 2))
  await publish(message('b', 3))
  expect(await tick()).toEqual([2, 3])
  await publish(message('b', 4))
  expect(await tick()).toEqual([4])
  await append(long, 'c', 5)
  await commit(long)
  await publish(message('b', 6))
  expect(await tick()).toEqual([1, 5, 6])
})

test('a transaction that stays open over many ticks comes once, when it has committed', async () => {
  const long = await begin()
  await append(long, 'a', 1)
  for (let version = 2; version < 10; version++) {
    await publish(message('b', version))
    expect(await tick()).toEqual([version])
  }
  await commit(long)
  expect(await tick()).toEqual([1])
  expect(await tick()).toEqual([])
})

test('a prepared transaction is running until it is committed', async () => {
  const session = await begin()
  await append(session, 'a', 1)
  await session.query(`prepare transaction 'floors'`)
  session.release()
  await publish(message('b', 2))
  expect(await tick()).toEqual([2])
  await database.query(`commit prepared 'floors'`)
  expect(await tick()).toEqual([1])
})

test('rows of savepoints belong to the transaction around them', async () => {
  const session = await begin()
  await session.query('savepoint one')
  await append(session, 'a', 1)
  await session.query('savepoint two')
  await append(session, 'a', 2)
  await session.query('rollback to savepoint two')
  await publish(message('b', 3))
  expect(await tick()).toEqual([3])
  await session.query('release savepoint one')
  await append(session, 'a', 4)
  await commit(session)
  expect(await tick()).toEqual([1, 4])
})
