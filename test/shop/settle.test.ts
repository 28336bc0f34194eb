import { afterEach, expect, test } from 'vitest'
import { event, service } from 'tidemark'
import { memory, memoryBroker } from 'tidemark/memory'
import { z } from 'zod'
import { settleShop } from '../../examples/shop/program/settle.ts'
import { servicesOf, type Shop } from '../../examples/shop/shop.ts'

const OrderPlaced = event('OrderPlaced', { aggregate: 'order', key: (order) => order.orderId, schema: z.object({ orderId: z.string() }) })

let shop: Shop
afterEach(() => Promise.all(servicesOf(shop).map((each) => each.stop())))

/** A shop that never settles: what orders publishes is relayed by nobody. */
async function stuckShop(): Promise<Shop> {
  const broker = memoryBroker()
  const make = (name: string) => service(name, { database: memory(), broker, relay: false })
  shop = {
    orders: make('orders'),
    payments: make('payments'),
    inventory: make('inventory'),
    shipping: make('shipping'),
    insight: make('insight'),
  }
  await shop.orders.transaction((tx) => shop.orders.publish(tx, OrderPlaced, { orderId: 'o-1' }))
  return shop
}

const progress = { step: () => undefined, update: () => undefined, say: () => undefined, end: () => undefined }

test('a standstill is told with the time that was really waited, and with what waits', async () => {
  const begun = performance.now()
  const signal = new AbortController().signal
  const failure: unknown = await settleShop(await stuckShop(), { progress, signal, tryMs: 40, standstillMs: 300 }).catch(
    (error: unknown) => error,
  )
  const waited = performance.now() - begun
  expect(failure).toMatchObject({
    code: 'SETTLE_TIMEOUT',
    exitCode: 1,
    message: expect.stringContaining('orders: 1 messages in the outbox') as string,
  })
  const [told, still] = [...String(failure).matchAll(/(\d+\.\d) s/g)].map(([, seconds]) => 1_000 * Number(seconds))
  expect(still).toBeGreaterThanOrEqual(300)
  expect(told).toBeGreaterThanOrEqual(still!)
  expect(told).toBeLessThanOrEqual(waited + 50)
})

test.each(['flow', 'status'] as const)(
  'an interrupt during a look at the %s ends the wait by the interrupt, not by a time-out',
  async (look) => {
    const controller = new AbortController()
    const { insight } = await stuckShop()
    const real = { flow: insight.flow.bind(insight), status: insight.status.bind(insight) }
    let looks = 0
    // The second look, so that nothing has moved since the first one, and the standstill is over.
    const interrupted = (): void => {
      looks += 1
      if (looks === 2) controller.abort()
    }
    insight.flow = () => (look === 'flow' && interrupted(), real.flow())
    insight.status = () => (look === 'status' && interrupted(), real.status())
    const settling = settleShop(shop, { progress, signal: controller.signal, tryMs: 0, standstillMs: 0 })
    await expect(settling).rejects.toMatchObject({ name: 'AbortError' })
  },
)
