/**
 * What must become of a file of purchases, computed straight from its text and from nothing of the shop.
 *
 * @module
 */

export interface ExpectedTotal {
  orders: number
  units: number
  cents: number
}

export interface Expected {
  readonly placed: ExpectedTotal
  readonly declined: ExpectedTotal
  readonly outOfStock: ExpectedTotal
  readonly fulfilled: ExpectedTotal
  readonly refunded: ExpectedTotal
  readonly customers: number
  readonly days: number
}

export interface OracleOptions {
  readonly declineAboveCents?: number
  readonly maxUnits?: number
  readonly limit?: number
}

export function expectedOutcome(text: string, options: OracleOptions = {}): Expected {
  const { declineAboveCents = 15_000, maxUnits = 10, limit = Infinity } = options
  const nothing = (): ExpectedTotal => ({ orders: 0, units: 0, cents: 0 })
  const totals = { placed: nothing(), declined: nothing(), outOfStock: nothing(), fulfilled: nothing() }
  const customers = new Set<string>()
  const days = new Set<string>()
  // A line of data ends in a date, a count and a value; nothing else does.
  for (const [, line] of [...text.matchAll(/^[^\S\n]*(\S.*?\d{8}\s+\d+\s+\d+(?:\.\d+)?)\s*$/gm)].slice(0, limit)) {
    const words = line!.trim().split(/\s+/)
    const units = parseInt(words.at(-2)!, 10)
    // Rounding is exact enough here, and is not what the shop does.
    const cents = Math.round(parseFloat(words.at(-1)!) * 100)
    const ending = cents > declineAboveCents ? 'declined' : units > maxUnits ? 'outOfStock' : 'fulfilled'
    for (const total of [totals.placed, totals[ending]]) {
      total.orders += 1
      total.units += units
      total.cents += cents
    }
    customers.add(words[0]!.replace('\uFEFF', ''))
    days.add(words.at(-3)!)
  }
  return { ...totals, refunded: { ...totals.outOfStock }, customers: customers.size, days: days.size }
}
