import { randomUUID } from 'node:crypto'
import { service } from 'tidemark'
import { idempotent } from 'tidemark/inbox'

const shop = service('shop')
await shop.query('create table if not exists invoices (order_id text)')

// #region http
const handle = idempotent(
  async (request, { commitWith }) =>
    shop.transaction(async (tx) => {
      const { orderId } = (await request.json()) as { orderId: string }
      await tx.query('insert into invoices values ($1)', [orderId])
      return commitWith(tx, Response.json({ invoiced: orderId }, { status: 201 }))
    }),
  { ledger: shop.ledger, caller: (request) => request.headers.get('authorization') ?? '', afterCrash: 'run again' },
)
// #endregion http

// A client that heard no reply sends the same again, and then makes a mistake.
const key = `"${randomUUID()}"`
for (const body of ['{"orderId":"o-1"}', '{"orderId":"o-1"}', '{"orderId":"o-2"}']) {
  const headers = { 'idempotency-key': key, authorization: 'me' }
  const response = await handle(new Request('http://shop/invoices', { method: 'POST', headers, body }))
  const replayed = response.headers.get('idempotency-replayed') === 'true' ? ', replayed' : ''
  const { invoiced, title } = (await response.json()) as { readonly invoiced?: string; readonly title?: string }
  console.log(`${response.status}${replayed}: ${invoiced ?? title}`)
}

await shop.stop()
