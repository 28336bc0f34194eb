/** The message of the bench: about 300 bytes of JSON, made from its number alone, so that every system gets the same ones. */
export interface Order {
  readonly orderId: string
  readonly customerId: string
  readonly cents: number
  readonly placedAt: string
  readonly lines: { readonly sku: string; readonly units: number; readonly cents: number }[]
}

const customers = 2_000

export function order(number: number): Order {
  const cents = 500 + ((number * 7_919) % 20_000)
  return {
    orderId: `order-${String(number).padStart(8, '0')}`,
    customerId: `customer-${String((number * 31) % customers).padStart(5, '0')}`,
    cents,
    placedAt: new Date(Date.UTC(2026, 0, 1) + number * 1_000).toISOString(),
    lines: [
      { sku: `sku-${String(number % 997).padStart(6, '0')}`, units: 1 + (number % 3), cents: Math.floor(cents / 2) },
      { sku: `sku-${String((number * 13) % 997).padStart(6, '0')}`, units: 1, cents: cents - Math.floor(cents / 2) },
    ],
  }
}

/** Orders 1 to `count`, in chunks for bulk calls. */
export function* orderChunks(count: number, size: number): Generator<Order[]> {
  for (let first = 1; first <= count; first += size) {
    yield Array.from({ length: Math.min(size, count - first + 1) }, (_, index) => order(first + index))
  }
}
