import assert from 'node:assert/strict'
import { expect, test } from 'vitest'
import { MemoryDatabase } from '../../src/drivers/memory/index.ts'
import { ManualClock } from '../conformance/manual-clock.ts'

/** Has it come to an end by the next turn? */
async function isOver(promise: Promise<unknown>): Promise<boolean> {
  let over = false
  const end = (): void => void (over = true)
  promise.then(end, end)
  await new Promise((resolve) => setImmediate(resolve))
  return over
}

test('a lock is waited for, in the order of asking', async () => {
  const database = new MemoryDatabase()
  const [first, second, third] = [database.begin(), database.begin(), database.begin()]
  await first.lock('row')
  const waiting = [second.lock('row'), third.lock('row')]
  assert.equal(await isOver(waiting[0]!), false)
  first.commit()
  assert.equal(await waiting[0], true)
  assert.equal(await isOver(waiting[1]!), false)
  second.rollBack()
  assert.equal(await waiting[1], true)
})

test('whoever would close a circle of waiting transactions gets a conflict, and the other one goes on', async () => {
  const database = new MemoryDatabase()
  const [one, other] = [database.begin(), database.begin()]
  await one.lock('a')
  await other.lock('b')
  const waiting = one.lock('b')
  await expect(other.lock('a')).rejects.toMatchObject({ code: 'TRANSACTION_ABORTED', details: { conflict: true } })
  other.rollBack()
  assert.equal(await waiting, true)
})

test('waiting ends with its time limit', async () => {
  const clock = new ManualClock()
  const database = new MemoryDatabase({ clock })
  const [holder, waiter] = [database.begin(), database.begin()]
  await holder.lock('row')
  const waiting = waiter.lock('row', 500)
  await clock.advance(499)
  assert.equal(await isOver(waiting), false)
  await clock.advance(1)
  assert.equal(await waiting, false)
  assert.equal(clock.pending, 0)
})

test('a transaction that stands still is ended, gives its locks back, and commits nothing', async () => {
  const clock = new ManualClock()
  const database = new MemoryDatabase({ clock })
  const [frozen, successor] = [database.begin(), database.begin()]
  await frozen.lock('row')
  frozen.raw.set('key', 'old')
  frozen.limitStandstill(1_000)
  const waiting = successor.lock('row')
  await clock.advance(1_000)
  assert.equal(await waiting, true)
  assert.throws(() => frozen.commit(), { code: 'DATABASE_CONNECTION_LOST' })
  assert.equal(database.data.get('key'), undefined)
})

test('a value that another transaction changed after it was read is a conflict at the commit', () => {
  const database = new MemoryDatabase()
  const [one, other] = [database.begin(), database.begin()]
  one.raw.set('total', Number(one.raw.get('total') ?? 0) + 1)
  other.raw.set('total', Number(other.raw.get('total') ?? 0) + 1)
  one.commit()
  assert.throws(() => other.commit(), { code: 'TRANSACTION_ABORTED', details: { conflict: true } })
  assert.equal(database.data.get('total'), 1)
})

test('values are copies: changing one afterwards changes nothing', () => {
  const database = new MemoryDatabase()
  const tx = database.begin()
  const order = { lines: ['a'] }
  tx.raw.set('order', order)
  order.lines.push('b')
  tx.commit()
  const read = database.data.get('order') as { lines: string[] }
  read.lines.push('c')
  assert.deepEqual(database.data.get('order'), { lines: ['a'] })
})

test('an ended transaction refuses everything', async () => {
  const tx = new MemoryDatabase().begin()
  tx.rollBack()
  assert.throws(() => tx.raw.get('key'), { code: 'TRANSACTION_CLOSED' })
  await expect(tx.lock('row')).rejects.toMatchObject({ code: 'TRANSACTION_CLOSED' })
  assert.throws(() => tx.commit(), { code: 'TRANSACTION_CLOSED' })
})
