import { createMessage, decodeMessage, event, handling, readEnvelope, recordHeaders, topicOf } from 'tidemark/message'
import type { LogRecord, OutboxMessage } from 'tidemark/message'
import { z } from 'zod'

// #region events
// OrderPlaced is at its second version: the first one had a price in dollars.
const OrderPlaced = event('OrderPlaced', {
  aggregate: 'order',
  key: (order) => order.orderId,
  schema: z.object({ orderId: z.string(), cents: z.int(), placedAt: z.iso.datetime().transform((text) => new Date(text)) }),
  version: 2,
  upcasters: {
    1: (old) => {
      const { dollars, ...order } = z.looseObject({ dollars: z.number() }).parse(old)
      return { ...order, cents: Math.round(dollars * 100) }
    },
  },
})
const InvoiceSent = event('InvoiceSent', {
  aggregate: 'invoice',
  key: (invoice) => invoice.orderId,
  schema: z.object({ orderId: z.string() }),
})
// #endregion events

// A service brings clock and ids; here both are fixed, so that the output is always the same.
let ids = 0
const producer = { source: '/shop', now: () => new Date('2026-01-02T03:04:05Z'), uuid: () => `id-${++ids}` }

// 1. What a publish stores, and what the relay makes of it.
const order = { orderId: 'o-1', cents: 4200, placedAt: '2026-01-02T03:00:00Z' }
const stored = await createMessage(OrderPlaced, order, { headers: { tenant: 'blue' } }, producer)
const record = relay(stored)
console.log(`record in ${record.topic}, key ${String(record.key)}`)
for (const [name, value] of record.headers) console.log(`  ${name}: ${String(value)}`)
console.log(`  ${String(record.value)}`)

// 2. What a handler gets: data as the schema returns it.
const message = await decodeMessage(readEnvelope(record), OrderPlaced)
console.log(`handled ${message.type} ${message.id}, placed in ${message.data.placedAt.getUTCFullYear()}`)

// 3. What it publishes names its cause, without being told.
const reply = await handling(message, () => createMessage(InvoiceSent, { orderId: message.data.orderId }, undefined, producer))
const invoice = await decodeMessage(readEnvelope(relay(reply)), InvoiceSent)
console.log(`handled ${invoice.type} ${invoice.id}, caused by ${invoice.causationId}, part of ${invoice.correlationId}`)

// 4. A message of version 1, and one from another program in CloudEvents' structured mode.
const old = {
  ...record,
  value: json({ orderId: 'o-0', dollars: 9.99, placedAt: order.placedAt }),
  headers: [['ce_schemaversion', '1']] as const,
}
console.log(`version 1 becomes ${(await decodeMessage(readEnvelope(old), OrderPlaced)).data.cents} cents`)

const cloudEvent = { specversion: '1.0', id: 'x-7', source: '/elsewhere', type: 'InvoiceSent', data: { orderId: 'o-2' } }
const structured = { ...record, value: json(cloudEvent), headers: [['content-type', 'application/cloudevents+json']] as const }
console.log(`foreign message: identity "${readEnvelope(structured).identity}", type ${readEnvelope(structured).type}`)

// 5. Wrong data is refused before anything is stored, and the error does not repeat it.
try {
  await createMessage(OrderPlaced, { ...order, cents: 4.2 }, undefined, producer)
} catch (error) {
  console.log(String(error))
}

function relay(message: OutboxMessage): LogRecord {
  const coordinate = { sourceEpoch: 'shop.1', generation: 1, stream: 0, tick: 5, seq: 1 }
  return {
    topic: topicOf(message.aggregateType, message.headers),
    partition: 0,
    offset: 0,
    timestamp: 0,
    key: Buffer.from(message.aggregateId),
    value: message.payload,
    headers: recordHeaders(message, coordinate),
  }
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value))
}
