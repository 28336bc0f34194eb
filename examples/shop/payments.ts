import { type Service, type ServiceOptions, service } from 'tidemark'
import { OrderPlaced, OutOfStock, PaymentDeclined, PaymentReceived, PaymentRefunded } from './events.ts'

export const paymentsTables = `
  create table if not exists payments (
    order_id text primary key,
    units integer not null,
    cents bigint not null,
    state text not null check (state in ('RECEIVED', 'DECLINED', 'REFUNDED'))
  );`

/** Takes the money for a placed order, unless it is worth more than `declineAboveCents`; gives it back when the goods are missing. */
export function paymentsService(declineAboveCents: number, options: ServiceOptions = {}): Service {
  const payments = service('payments', options)

  payments.consume(OrderPlaced, async ({ data: order, time }, { tx }) => {
    const isDeclined = order.cents > declineAboveCents
    await Promise.all([
      tx.query('insert into payments (order_id, units, cents, state) values ($1, $2, $3, $4)', [
        order.orderId,
        order.units,
        order.cents,
        isDeclined ? 'DECLINED' : 'RECEIVED',
      ]),
      isDeclined
        ? payments.publish(tx, PaymentDeclined, { ...order, reason: 'payment declined' }, { time })
        : payments.publish(tx, PaymentReceived, order, { time }),
    ])
  })

  payments.consume(OutOfStock, async ({ data: order, time }, { tx }) => {
    await Promise.all([
      tx.query(`update payments set state = 'REFUNDED' where order_id = $1`, [order.orderId]),
      payments.publish(tx, PaymentRefunded, order, { time }),
    ])
  })

  return payments
}
