import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { TerminalError, service } from 'tidemark'
import { postgres, postgresBroker } from 'tidemark/postgres'
import { insertInvoice, invoiceValues } from '../consume/invoices.ts'
import { serveSubject } from '../harness/subject.ts'
import { OrderPlaced } from '../orders/order-placed.ts'
import { type Order, order } from '../orders/order.ts'

interface Input {
  readonly database: string
  readonly shop: string
  readonly log: string
  /** Dead letters, each of a customer of its own. */
  readonly letters: number
  /** Live messages a second, of as many other customers in the same lanes. */
  readonly rate: number
}

/** Live traffic for so long before the redrive. */
const aloneMs = 4_000
/** How often some are published. */
const tickMs = 20

/** One partition: half of the customers have a dead letter, the others order; all letters are given back meanwhile. */
serveSubject(({ database, shop, log, letters, rate }: Input) => {
  const broker = postgresBroker({ connectionString: log })
  const consumer = { breaker: false, deadLetter: 'skip' } as const
  const billing = service('billing', { database: postgres({ connectionString: database }), broker, partitions: 1, consumer })
  const producer = service('shop', { database: postgres({ connectionString: shop }), broker, partitions: 1 })
  let isMended = false
  let runs = 0
  billing.consume(OrderPlaced, async ({ data }, { tx }) => {
    if (!isMended) throw new TerminalError('not today')
    runs += 1
    await tx.query(insertInvoice, invoiceValues(data))
  })
  const client = new pg.Client({ connectionString: database })
  const count = async (text: string): Promise<number> => Number((await client.query<{ n: string }>(text)).rows[0]!.n)
  const liveEffects = (): Promise<number> => count(`select count(*) as n from invoices where order_id > '${orderOf(letters).orderId}'`)
  const orderOf = (number: number): Order => {
    const customer = (number % letters) + (number > letters ? letters : 0)
    return { ...order(number), customerId: `customer-${String(customer).padStart(5, '0')}` }
  }
  const publish = (from: number, to: number): Promise<void> =>
    producer.transaction(async (tx) => {
      for (let number = from; number <= to; number++) await producer.publish(tx, OrderPlaced, orderOf(number))
    })

  /** Publishes at the rate until it is told to stop; returns the last number. */
  async function live(isOver: () => boolean): Promise<number> {
    let last = letters
    for (const from = performance.now(); !isOver(); await delay(tickMs)) {
      const due = letters + Math.floor(((performance.now() - from) * rate) / 1_000)
      if (due > last) await publish(last + 1, due)
      last = Math.max(last, due)
    }
    return last
  }

  return {
    async prepare() {
      await client.connect()
      for (let from = 1; from <= letters; from += 500) await publish(from, Math.min(from + 499, letters))
      await producer.start()
      await billing.start()
      while ((await count('select count(*) as n from tidemark.dead_letter')) < letters) await delay(20)
      isMended = true
    },
    async run() {
      let isOver = false
      const traffic = live(() => isOver)
      while ((await liveEffects()) < rate) await delay(20)
      const [aloneFrom, aloneBefore] = [performance.now(), await liveEffects()]
      await delay(aloneMs)
      const alone = ((await liveEffects()) - aloneBefore) / ((performance.now() - aloneFrom) / 1000)

      const [from, before] = [performance.now(), await liveEffects()]
      let isRedriven = false
      const seconds = slowestSecond(liveEffects, () => isRedriven)
      const redriven = await billing.deadLetters.replayAll()
      const askedSeconds = (performance.now() - from) / 1000
      const whilePutBack = ((await liveEffects()) - before) / ((performance.now() - from) / 1000)
      while ((await count('select count(*) as n from tidemark.dead_letter where ended_at is null')) > 0) await delay(20)
      const redriveSeconds = (performance.now() - from) / 1000
      const beside = ((await liveEffects()) - before) / ((performance.now() - from) / 1000)
      isRedriven = true
      const slowest = (await seconds) ?? beside
      isOver = true
      const last = await traffic
      while ((await count('select count(*) as n from invoices')) < last) await delay(20)
      if (redriven !== letters) throw new Error(`${redriven} of ${letters} letters were redriven`)
      return { alone, whilePutBack, beside, slowest, redriveSeconds, askedSeconds, inVain: runs - last, messages: last }
    },
    async stop() {
      await producer.stop()
      await billing.stop()
      await broker.close()
      await client.end()
    },
  }
})

/** The fewest effects in a whole second until it is over; `null`: it took less than one. */
async function slowestSecond(count: () => Promise<number>, isOver: () => boolean): Promise<number | null> {
  let slowest: number | null = null
  for (let before = await count(); ;) {
    const from = performance.now()
    while (performance.now() - from < 1_000 && !isOver()) await delay(10)
    if (isOver()) return slowest
    const now = await count()
    slowest = Math.min(slowest ?? Number.POSITIVE_INFINITY, ((now - before) * 1_000) / (performance.now() - from))
    before = now
  }
}
