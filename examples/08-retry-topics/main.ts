import { event, service } from 'tidemark'
import { memory, memoryBroker, memoryView } from 'tidemark/memory'
import { z } from 'zod'

const OrderPlaced = event('OrderPlaced', {
  aggregate: 'order',
  topic: 'orders',
  key: (order) => order.customer,
  schema: z.object({ customer: z.string(), number: z.number() }),
})

const database = memory()
const broker = memoryBroker()

// #region consume
const shipping = service('shipping', {
  database,
  broker,
  partitions: 1,
  consumer: {
    retry: { immediate: 0, maxAttempts: 3 },
    // Failed messages wait in orders.shipping.retry.1 and .2; the dead have a copy in orders.shipping.dlq.
    retryTopics: { delaysMs: [20, 100] },
  },
})
shipping.consume(OrderPlaced, ({ data: { customer, number } }, { tx, attempt }) => {
  if (customer === 'cy' && number === 1 && attempt === 1) throw new Error('a hiccup')
  if (customer === 'di') throw new Error('no such street')
  memoryView(tx).set(`${customer} ${number}`, `shipped at attempt ${attempt}`)
})
// #endregion consume

await shipping.start()
await shipping.transaction((tx) =>
  shipping.publishAll(tx, [
    { event: OrderPlaced, data: { customer: 'cy', number: 1 } },
    { event: OrderPlaced, data: { customer: 'cy', number: 2 } },
    { event: OrderPlaced, data: { customer: 'di', number: 1 } },
  ]),
)
await shipping.settled()
// In the order of the commits: the second order did not wait for the first one, which is the price.
console.log(Object.fromEntries(database.entries()))
console.log('dead letters:', (await shipping.deadLetters.getDeadLetterStats()).byFailureReason)

// What a foreign tool sees of the one that died.
const [copies] = await broker
  .reader()
  .fetch([{ topic: 'orders.shipping.dlq', partition: 0, offset: 0 }], { maxBytes: 100_000, maxWaitMs: 0 })
const [copy] = copies!.records
console.log(String(copy!.key), String(copy!.value))
for (const [name, value] of copy!.headers) {
  if (/^tidemark-(original-topic|retry-count|error)/.test(name)) console.log(`${name}: ${String(value)}`)
}
await shipping.stop()
await broker.close()
