import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { TerminalError, service } from 'tidemark'
import { postgres, postgresBroker } from 'tidemark/postgres'
import { insertInvoice, invoiceValues } from '../consume/invoices.ts'
import { serveSubject } from '../harness/subject.ts'
import { OrderPlaced } from '../orders/order-placed.ts'
import { publishBacklog } from '../orders/publish-backlog.ts'

interface Input {
  readonly database: string
  readonly shop: string
  readonly log: string
  readonly messages: number
}

/** Every message is dead; then its handler is mended, and all are redriven until their effects are there. */
serveSubject(({ database, shop, log, messages }: Input) => {
  const broker = postgresBroker({ connectionString: log })
  const consumer = { breaker: false, deadLetter: 'skip' } as const
  const billing = service('billing', { database: postgres({ connectionString: database }), broker, consumer })
  let isMended = false
  billing.consume(OrderPlaced, async ({ data }, { tx }) => {
    if (!isMended) throw new TerminalError('not today')
    await tx.query(insertInvoice, invoiceValues(data))
  })
  const client = new pg.Client({ connectionString: database })
  const count = async (text: string): Promise<number> => Number((await client.query<{ n: string }>(text)).rows[0]!.n)
  return {
    async prepare() {
      await client.connect()
      const producer = service('shop', { database: postgres({ connectionString: shop }), broker })
      await publishBacklog(producer, messages)
      await producer.start()
      await producer.settled()
      await producer.stop()
      await billing.start()
      while ((await count('select count(*) as n from tidemark.dead_letter')) < messages) await delay(20)
      isMended = true
    },
    async run() {
      const from = performance.now()
      const redriven = await billing.deadLetters.replayAll()
      const asked = performance.now()
      while ((await count('select count(*) as n from invoices')) < messages) await delay(20)
      if (redriven !== messages) throw new Error(`${redriven} of ${messages} letters were redriven`)
      return { seconds: (performance.now() - from) / 1000, askedSeconds: (asked - from) / 1000 }
    },
    async stop() {
      await billing.stop()
      await broker.close()
      await client.end()
    },
  }
})
