import { EventEmitter, once } from 'node:events'
import { event, service } from 'tidemark'
import { memory, memoryBroker, memoryView } from 'tidemark/memory'
import { z } from 'zod'

const OrderPlaced = event('OrderPlaced', {
  aggregate: 'order',
  key: (order) => order.orderId,
  schema: z.object({ orderId: z.string(), total: z.number() }),
})

const database = memory()
const told = new EventEmitter()
const [alarm, allClear] = [once(told, 'warning'), once(told, 'info')]

// #region consume
const billing = service('billing', {
  database,
  broker: memoryBroker(),
  consumer: { retry: { maxAttempts: 1 }, owner: 'payments team', runbook: 'https://wiki.example/billing' },
  notify: ({ severity, title, owner }) => {
    console.log(`${severity} for the ${owner}: ${title}`)
    told.emit(severity)
  },
  alerts: { everyMs: 20 },
})
billing.consume(OrderPlaced, (order, { tx }) => {
  if (order.data.total < 0) throw new RangeError('a total below zero')
  memoryView(tx).set(order.data.orderId, order.data.total)
})
// #endregion consume

await billing.start()
await billing.transaction((tx) =>
  billing.publishAll(tx, [
    { event: OrderPlaced, data: { orderId: 'o-1', total: -5 } },
    { event: OrderPlaced, data: { orderId: 'o-2', total: 7 } },
  ]),
)
await billing.settled()
await alarm
console.log('handled:', database.entries())

// #region mend
const { totalCount, byFailureReason } = await billing.deadLetters.getDeadLetterStats()
console.log(`dead letters: ${totalCount},`, byFailureReason)

const [letter] = await billing.deadLetters.peek({ types: ['OrderPlaced'] })
console.log('original:', letter!.originalEvent.data, 'from', letter!.sourceQueue)

const data = { orderId: 'o-1', total: 5 }
const edited = await billing.deadLetters.edit(letter!.context.id, { event: OrderPlaced, data, reason: 'the sign was wrong', redrive: true })
console.log(`${edited.state}, edited ${edited.edits} time`)
// #endregion mend

await allClear
await billing.settled()
console.log('handled:', database.entries())
await billing.stop()
