import assert from 'node:assert/strict'
import { test } from 'vitest'
import { z } from 'zod'
import { event, service, settled } from '../../src/index.ts'
import { memory, memoryBroker, memoryView } from '../../src/drivers/memory/index.ts'

const OrderPlaced = event('OrderPlaced', {
  aggregate: 'order',
  key: (order) => order.orderId,
  schema: z.object({ orderId: z.string(), total: z.number() }),
})

// #region example
test('an order is invoiced once', async () => {
  const [shopDatabase, billingDatabase, broker] = [memory(), memory(), memoryBroker()]
  const shop = service('shop', { database: shopDatabase, broker })
  const billing = service('billing', { database: billingDatabase, broker })
  billing.consume(OrderPlaced, (order, { tx }) => memoryView(tx).set(`invoice ${order.data.orderId}`, order.data.total))
  await Promise.all([shop.start(), billing.start()])

  await shop.transaction(async (tx) => {
    memoryView(tx).set('order o-1', 'placed')
    await shop.publish(tx, OrderPlaced, { orderId: 'o-1', total: 42 })
  })
  await settled([shop, billing])

  assert.equal(billingDatabase.get('invoice o-1'), 42)
  assert.equal(billingDatabase.deadLetters.length, 0)
  await Promise.all([shop.stop(), billing.stop()])
})
// #endregion example
