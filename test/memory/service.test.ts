import assert from 'node:assert/strict'
import { afterEach, expect, test } from 'vitest'
import { z } from 'zod'
import { event, service, settled } from '../../src/index.ts'
import type { Service } from '../../src/index.ts'
import { memory, memoryBroker, memoryView } from '../../src/drivers/memory/index.ts'

const OrderPlaced = event('OrderPlaced', {
  aggregate: 'order',
  key: (order) => order.orderId,
  schema: z.object({ orderId: z.string(), total: z.number() }),
})
const InvoiceSent = event('InvoiceSent', {
  aggregate: 'invoice',
  key: (invoice) => invoice.orderId,
  schema: z.object({ orderId: z.string() }),
})

const running: Service[] = []
afterEach(async () => {
  await Promise.all(running.splice(0).map((one) => one.stop()))
})

function started(...services: Service[]): Promise<unknown> {
  running.push(...services)
  return Promise.all(services.map((one) => one.start()))
}

test('what a service publishes in memory is handled once by another, and what that publishes comes back', async () => {
  const [shopData, billingData, broker] = [memory(), memory(), memoryBroker()]
  const shop = service('shop', { database: shopData, broker })
  const billing = service('billing', { database: billingData, broker })
  billing.consume(OrderPlaced, async (order, { tx }) => {
    memoryView(tx).set(`invoice ${order.data.orderId}`, order.data.total)
    await billing.publish(tx, InvoiceSent, { orderId: order.data.orderId })
  })
  shop.consume(InvoiceSent, (invoice, { tx }) => memoryView(tx).set(`sent ${invoice.data.orderId}`, true))
  await started(shop, billing)
  for (let i = 0; i < 50; i++) {
    await shop.transaction(async (tx) => {
      memoryView(tx).set(`order o-${i}`, 'placed')
      await shop.publish(tx, OrderPlaced, { orderId: `o-${i}`, total: i })
    })
  }
  await settled([shop, billing])
  assert.equal(billingData.entries().length, 50)
  assert.equal(billingData.get('invoice o-7'), 7)
  assert.equal(shopData.entries().filter(([key]) => key.startsWith('sent ')).length, 50)
  assert.equal(await shop.ready(), true)
})

test('a transaction that throws leaves neither its values nor its messages', async () => {
  const [database, broker] = [memory(), memoryBroker()]
  const shop = service('shop', { database, broker })
  shop.consume(OrderPlaced, (order, { tx }) => memoryView(tx).set(`handled ${order.data.orderId}`, true))
  await started(shop)
  const attempt = shop.transaction(async (tx) => {
    memoryView(tx).set('order', 'placed')
    await shop.publish(tx, OrderPlaced, { orderId: 'o-1', total: 1 })
    throw new Error('out of luck')
  })
  await expect(attempt).rejects.toThrow('out of luck')
  await shop.settled()
  assert.deepEqual(database.entries(), [])
})

test('SQL in a handler on the memory database ends in the dead letters, with a reason that says what to do', async () => {
  const [database, broker] = [memory(), memoryBroker()]
  const shop = service('shop', { database, broker, consumer: { retry: { baseDelayMs: 1 } } })
  shop.consume(OrderPlaced, async (_order, { tx }) => void (await tx.query('insert into invoices values (1)')))
  await started(shop)
  await shop.transaction((tx) => shop.publish(tx, OrderPlaced, { orderId: 'o-1', total: 1 }))
  await shop.settled()
  const [letter] = database.deadLetters
  assert.equal(letter?.errorClass, 'INPUT_INVALID')
  assert.match(letter.reason, /The memory database has no SQL\. Keep values by key/)
  await expect(shop.query('select 2')).rejects.toMatchObject({ code: 'INPUT_INVALID' })
})

test('handlers of many keys that change one value all count', async () => {
  const [database, broker] = [memory(), memoryBroker()]
  const shop = service('shop', { database, broker })
  shop.consume(OrderPlaced, (order, { tx }) => {
    const view = memoryView(tx)
    view.set('total', Number(view.get('total') ?? 0) + order.data.total)
  })
  await started(shop)
  await shop.transaction(async (tx) => {
    for (let i = 0; i < 200; i++) await shop.publish(tx, OrderPlaced, { orderId: `o-${i}`, total: 1 })
  })
  await shop.settled()
  assert.equal(database.get('total'), 200)
  assert.equal(database.deadLetters.length, 0)
})

test('simple mode and several streams keep order per key, and lose nothing', async () => {
  const [database, broker, seen] = [memory(), memoryBroker(), new Map<string, number[]>()]
  const shop = service('shop', { database, broker, outbox: { published: 'delete', streams: 3, idleMs: 2 } })
  const reader = service('reader', { database: memory(), broker })
  reader.consume(OrderPlaced, ({ data }) => void seen.set(data.orderId, [...(seen.get(data.orderId) ?? []), data.total]))
  await started(shop, reader)
  for (let total = 0; total < 60; total++) {
    await shop.transaction((tx) => shop.publish(tx, OrderPlaced, { orderId: `o-${total % 6}`, total }))
  }
  await settled([shop, reader])
  for (const [orderId, totals] of seen) {
    assert.deepEqual(
      totals,
      Array.from({ length: 10 }, (_, i) => Number(orderId.slice(2)) + 6 * i),
    )
  }
  assert.equal(seen.size, 6)
  const { relays } = (await shop.status()).outbox
  assert.deepEqual([relays.length, relays.reduce((sum, { published }) => sum + published, 0)], [3, 60])
})

test('one memory() is one outbox: a second service that wants it otherwise is refused', async () => {
  const [database, broker] = [memory(), memoryBroker()]
  const shop = service('shop', { database, broker, outbox: { streams: 2 } })
  const other = service('shop', { database, broker })
  await started(shop)
  running.push(other)
  await expect(other.start()).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining('streams: 1') as string })
})
