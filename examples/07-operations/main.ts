import { event, service } from 'tidemark'
import { redriveParams } from 'tidemark/dead-letter'
import { memory, memoryBroker } from 'tidemark/memory'
import { z } from 'zod'

const OrderPlaced = event('OrderPlaced', {
  aggregate: 'order',
  key: (order) => order.orderId,
  schema: z.object({ orderId: z.string(), country: z.string() }),
})

let orders = 0
/** What the code knows; at first it has forgotten a country. */
const rates = new Map([['de', 19]])
let answer = (): void => undefined
const taxOfficeAnswers = new Promise<void>((resolve) => (answer = resolve))

const billing = service('billing', {
  database: memory(),
  broker: memoryBroker(),
  consumer: { retry: { maxAttempts: 1 } },
  operations: { idleMs: 10 },
  authorize: ({ roles }, verb) => verb.endsWith('.view') || roles.includes('operator'),
})
billing.consume(OrderPlaced, async ({ data: { country } }) => {
  if (!rates.has(country)) throw new RangeError(`no tax rate for ${country}`)
  await taxOfficeAnswers
})

await billing.start()
for (const countries of [['fr', 'fr', 'fr', 'fr'], ['xx']]) {
  await billing.transaction(async (tx) => {
    for (const country of countries) await billing.publish(tx, OrderPlaced, { orderId: `o-${++orders}`, country })
  })
  await billing.settled()
}

const ada = { id: 'ada', roles: ['operator'] }
const ben = { id: 'ben', roles: ['operator'] }

// #region plan
const { deadLetters, operations, audit } = billing
console.log('dead:', (await deadLetters.getDeadLetterStats()).byFailureReason)

// A dry run: counts, and stores nothing.
const params = redriveParams({ filter: { types: ['OrderPlaced'] } })
const { count, summary } = await operations.preview('redrive', params, { actor: ada })
console.log(`would redrive ${count} letters of ${String(summary['keys'])} keys`)

// Stored, for somebody else to confirm. One in five goes first; it stops when more than half have failed.
const settings = { canary: [0.2, 1], maxFailures: 0.5 }
const { id } = await operations.plan('redrive', params, { actor: ada, reason: 'France has a rate now', settings })
// #endregion plan

rates.set('fr', 20)

// #region run
await operations.confirm(id, { actor: ben })
for await (const { next } of operations.watch(id, { everyMs: 10 })) if (next > 0) break

await operations.pause(id, { actor: ben, reason: 'the tax office is slow' })
const { state, counts, total } = await operations.get(id)
console.log(`${state}: ${counts.started} of ${total} under way`)

answer()
await operations.resume(id, { actor: ben, reason: 'it answers' })
for await (const now of operations.watch(id, { everyMs: 10 })) console.error(`${now.state}: ${now.next} of ${now.total}`)
console.log('ended:', (await operations.get(id)).counts)
// #endregion run

// #region items
for (const { outcome, reason, data } of await operations.items(id, { outcomes: ['failed', 'skipped'] })) {
  console.log(`letter ${String(data['id'])} ${outcome}: ${reason}`)
}

await operations.cancel(id, { actor: { id: 'eve', roles: [] } }).catch(({ code }: { code: string }) => console.log(`eve: ${code}`))
for (const { actor, verb, outcome, reason } of (await audit.list()).toReversed()) {
  console.log(`${actor.id} ${verb}: ${outcome}${reason === null ? '' : ` (${reason})`}`)
}
// #endregion items

await billing.stop()
