import { event, service } from 'tidemark'
import { memoryBroker } from 'tidemark/memory'
import { embedded, pgTransaction, postgres } from 'tidemark/postgres'
import { Pool } from 'pg'
import { z } from 'zod'

const OrderPlaced = event('OrderPlaced', {
  aggregate: 'order',
  key: (order) => order.orderId,
  schema: z.object({ orderId: z.string() }),
})

// Your own pool, as in any program of yours. Here on the server that comes with the package.
const server = await embedded().acquire()
const database = `outbox_example_${process.pid}`
await server.ensureDatabase(database)
const pool = new Pool(server.connection(database))
// Its connections end a moment after `end`; a server that stops first would end the process by them if nobody listened.
pool.on('error', (error) => console.error(error.message))

const broker = memoryBroker()
const shop = service('shop', { database: postgres({ pool }), broker })
const reader = service('reader', { database: postgres({ pool, schema: 'reader' }), broker })
const seen: string[] = []
reader.consume(OrderPlaced, (order) => void seen.push(order.data.orderId))
await Promise.all([shop.start(), reader.start()])

// #region publish
async function place(orderId: string): Promise<void> {
  const client = await pool.connect()
  try {
    await client.query('begin')
    await shop.publish(pgTransaction(client), OrderPlaced, { orderId })
    // The save fails for an order that exists: the event goes with it.
    await client.query('insert into orders (order_id) values ($1)', [orderId])
    await client.query('commit')
  } catch (error) {
    await client.query('rollback')
    throw error
  } finally {
    client.release()
  }
}
// #endregion publish

await pool.query('create table orders (order_id text primary key)')
await place('o-1')
await place('o-1').catch((error: Error) => console.log(`rolled back: ${error.message}`))
await place('o-2')

await shop.settled()
await reader.settled()
console.log(`published: ${seen.sort().join(', ')}`)
const rows = await pool.query<{ aggregate_id: string; published: boolean }>(
  'select aggregate_id, published_at is not null as published from tidemark.outbox_messages order by created_at',
)
for (const row of rows.rows) console.log(`in the outbox: ${row.aggregate_id}, published: ${row.published}`)

await Promise.all([shop.stop(), reader.stop()])
await pool.query('drop schema tidemark, reader cascade')
await pool.end()
await server.release()
