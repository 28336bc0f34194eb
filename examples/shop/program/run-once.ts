import type { Purchase } from '../input/purchase.ts'
import { placeOrders } from '../orders.ts'
import type { Shop } from '../shop.ts'
import { outageText, persistently } from './persistence.ts'
import { countsOf, statusesOf, sum } from './counts.ts'
import type { Progress } from './progress.ts'
import { addsUp, countDeadLetters, insightAgrees, readOutcome, type Report, reportOf } from './report.ts'
import { settleShop } from './settle.ts'
import { exitCodes, ShopError } from './shop-error.ts'

/** Orders per transaction: enough to make a commit cheap, few enough for the services to begin at once. */
const chunkSize = 200

/** Places all purchases, waits until nothing is on its way any more, and reads the totals from the services' databases. */
export async function runOnce(shop: Shop, purchases: readonly Purchase[], progress: Progress, signal: AbortSignal): Promise<Report> {
  const begun = performance.now()
  const patience = { signal, onOutage: (error: unknown) => progress.say(outageText(error)) }
  progress.step(`Placing ${purchases.length} orders.`)
  let newOrders = 0
  for (let start = 0; start < purchases.length; start += chunkSize) {
    newOrders += await persistently(() => placeOrders(shop.orders, purchases.slice(start, start + chunkSize)), patience)
    progress.update(() => `placed ${Math.min(start + chunkSize, purchases.length)} of ${purchases.length} orders`)
  }
  progress.step('Settling.')
  await settleShop(shop, { progress, signal })
  const seconds = (performance.now() - begun) / 1_000

  progress.step('Reading the totals.')
  const outcome = await persistently(
    () =>
      readOutcome(
        shop,
        purchases.map(({ orderId }) => orderId),
      ),
    patience,
  )
  const deadLetters = await persistently(() => countDeadLetters(shop), patience)
  const duplicates = (await persistently(() => statusesOf(shop), patience)).map((status) => countsOf(status).duplicates)
  const report = reportOf(outcome, deadLetters, sum(duplicates), newOrders, seconds)
  signal.throwIfAborted()
  if (!addsUp(outcome)) throw new UnfinishedError(report)
  if (!(await persistently(() => insightAgrees(shop), patience))) {
    progress.say('insight does not agree with orders; that is right only while another process places orders.')
  }
  return report
}

/** Some orders came to no end. Carries the report, which is still true. */
export class UnfinishedError extends ShopError {
  readonly report: Report

  constructor(report: Report) {
    const { placed, declined, outOfStock, fulfilled, deadLetters } = report
    const ended = declined.orders + outOfStock.orders + fulfilled.orders
    super(
      'ORDERS_UNFINISHED',
      exitCodes.failed,
      `Of ${placed.orders} orders ${ended} came to their end; there are ${deadLetters} dead letters.`,
      'Look into the table tidemark.dead_letter of each service.',
    )
    this.report = report
  }
}
