import { order } from '../orders/order.ts'
import type { Order } from '../orders/order.ts'

/** An order whose JSON has from 130 bytes to 4 KB: as in a shop most are small, and a few are large. */
export interface Purchase extends Omit<Order, 'lines'> {
  readonly note: string
}

const smallest = 130
const largest = 4_096

/**
 * The length of a message, from its number alone, so that every system gets the same ones: a quarter of them below 140 bytes, half below 200,
 * three quarters below 560, one in twenty above 2,500; 560 on average.
 */
export function lengthOf(number: number): number {
  // The fractions of multiples of the golden ratio fill 0 to 1 evenly, and neighbours are far apart.
  const share = (number * 0.618_033_988_749_895) % 1
  return Math.round(smallest * (largest / smallest) ** (share ** 3))
}

export function purchase(number: number): Purchase {
  const { orderId, customerId, cents, placedAt } = order(number)
  const bare = { orderId, customerId, cents, placedAt, note: '' }
  const missing = Math.max(0, lengthOf(number) - JSON.stringify(bare).length)
  const from = (number * 37) % (text.length - largest)
  return { ...bare, note: text.slice(from, from + missing) }
}

/** Something that reads like text: notes are slices of it. */
const text = Array.from(
  { length: 4_000 },
  (_, index) => `${(index * 7_919) % 10_007} ${'parcel box ribbon card'.slice(0, (index % 5) * 4)}`,
).join(' ')
