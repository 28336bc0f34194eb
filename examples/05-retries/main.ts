import { RetryLater, ValidationError, event, service } from 'tidemark'
import { memory, memoryBroker, memoryView } from 'tidemark/memory'
import { z } from 'zod'

const OrderPlaced = event('OrderPlaced', {
  aggregate: 'order',
  key: (order) => order.customer,
  schema: z.object({ customer: z.string(), number: z.number(), total: z.number() }),
})

const database = memory()
let isCarrierBusy = true
let failures = 0

// #region consume
const shipping = service('shipping', {
  database,
  broker: memoryBroker(),
  consumer: { retry: { maxAttempts: 4, baseDelayMs: 20 }, deadLetter: 'skip' },
})
shipping.consume(OrderPlaced, ({ data: { customer, number, total } }, { tx, attempt }) => {
  // Never handled: at once to the dead letters.
  if (total < 0) throw new ValidationError(`order ${number} has a total below zero`)
  // Not now: its customer's later orders wait behind it, nobody is charged.
  if (customer === 'bo' && isCarrierBusy) throw new RetryLater(10, 'the carrier is busy')
  // May pass: once more at once, then parked with its key and tried again, with growing pauses.
  if (customer === 'cy' && failures++ < 3) throw new Error('a hiccup')
  memoryView(tx).set(`${customer} ${number}`, `attempt ${attempt}`)
})
// #endregion consume

await shipping.start()
await shipping.transaction((tx) =>
  shipping.publishAll(tx, [
    { event: OrderPlaced, data: { customer: 'al', number: 1, total: 10 } },
    { event: OrderPlaced, data: { customer: 'al', number: 2, total: -1 } },
    { event: OrderPlaced, data: { customer: 'al', number: 3, total: 10 } },
    { event: OrderPlaced, data: { customer: 'bo', number: 1, total: 10 } },
    { event: OrderPlaced, data: { customer: 'bo', number: 2, total: 10 } },
    { event: OrderPlaced, data: { customer: 'cy', number: 1, total: 10 } },
    { event: OrderPlaced, data: { customer: 'cy', number: 2, total: 10 } },
    { event: OrderPlaced, data: { customer: 'di', number: 1, total: 10 } },
  ]),
)
while (database.get('di 1') === undefined || database.get('cy 2') === undefined) await new Promise((resolve) => setTimeout(resolve, 5))
console.log('while the carrier is busy:', Object.fromEntries(database.entries()))

isCarrierBusy = false
await shipping.settled()
console.log('then:', database.get('bo 1'), 'and', database.get('bo 2'))
console.log('dead letters:', (await shipping.deadLetters.getDeadLetterStats()).byFailureReason)
const { counts } = (await shipping.status()).groups[0]!.consumer!
console.log(`charged ${counts.retries} times, repeated at once ${counts.immediateRetries} times`)
await shipping.stop()
