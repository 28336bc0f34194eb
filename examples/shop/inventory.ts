import { type Service, type ServiceOptions, service } from 'tidemark'
import { OutOfStock, PaymentReceived, StockReserved } from './events.ts'

export const inventoryTables = `
  create table if not exists reservations (
    order_id text primary key,
    units integer not null,
    cents bigint not null,
    state text not null check (state in ('RESERVED', 'OUT_OF_STOCK'))
  );`

/** Sets the CDs of a paid order aside. Of more than `maxUnits` it never has enough. */
export function inventoryService(maxUnits: number, options: ServiceOptions = {}): Service {
  const inventory = service('inventory', options)

  inventory.consume(PaymentReceived, async ({ data: order, time }, { tx }) => {
    const isMissing = order.units > maxUnits
    await Promise.all([
      tx.query('insert into reservations (order_id, units, cents, state) values ($1, $2, $3, $4)', [
        order.orderId,
        order.units,
        order.cents,
        isMissing ? 'OUT_OF_STOCK' : 'RESERVED',
      ]),
      isMissing
        ? inventory.publish(tx, OutOfStock, { ...order, reason: 'out of stock' }, { time })
        : inventory.publish(tx, StockReserved, order, { time }),
    ])
  })

  return inventory
}
