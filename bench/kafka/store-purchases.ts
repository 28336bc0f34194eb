import { service } from 'tidemark'
import type { Service } from 'tidemark'
import type { KafkaBroker } from 'tidemark/kafka'
import { postgres } from 'tidemark/postgres'
import { purchasePlaced } from './purchase-placed.ts'
import { purchase } from './purchase.ts'

export interface Backlog {
  readonly database: string
  readonly aggregate: string
  readonly messages: number
  /** Relay streams that the outbox is made for. */
  readonly streams?: number
}

/** Makes the outbox, has `beforeFirst` done, and publishes purchases 1 to `messages`. Nothing is relayed. */
export async function storePurchases(
  client: KafkaBroker,
  backlog: Backlog,
  beforeFirst: () => Promise<void> = async () => {},
): Promise<void> {
  await using shop = shopOf(client, backlog, false)
  // Opening it makes the tables.
  await shop.query('select 1')
  await beforeFirst()
  await publish(shop, backlog)
}

/** Publishes purchases 1 to `messages` and relays them to their topic, as a real backlog comes about. */
export async function relayPurchases(client: KafkaBroker, backlog: Backlog): Promise<void> {
  await using shop = shopOf(client, backlog, true)
  await shop.start()
  await publish(shop, backlog)
  await shop.settled()
}

function shopOf(broker: KafkaBroker, { database, streams = 1 }: Backlog, relay: boolean): Service {
  return service('shop', { database: postgres({ connectionString: database }), broker, relay, outbox: { streams } })
}

async function publish(shop: Service, { aggregate, messages }: Backlog): Promise<void> {
  const placed = purchasePlaced(aggregate)
  for (let next = 1; next <= messages;) {
    const end = Math.min(messages + 1, next + 500)
    await shop.transaction(async (tx) => {
      for (; next < end; next += 1) await shop.publish(tx, placed, purchase(next))
    })
  }
}
