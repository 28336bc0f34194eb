import { parseCalendarDay } from './calendar-day.ts'
import { parseDollars } from './dollars.ts'
import type { Purchase } from './purchase.ts'

/** Bounds that no real purchase comes near. They catch columns in the wrong place, and keep every sum an exact integer. */
const mostUnits = 1_000_000
const mostCents = 1_000_000_000

/** Columns of one line. */
export function columnsOf(line: string): readonly string[] {
  return line.split(/\s+/).filter((column) => column !== '')
}

/** A header names its columns; a line of data has a number somewhere. */
export function isHeader(columns: readonly string[]): boolean {
  return !columns.some((column) => /^[+-]?\d*\.?\d+$/.test(column))
}

/**
 * Reads the columns of one purchase: the customer first, then maybe the customer's other number, then day, units and dollars.
 * Returns what was expected instead, in words, if they are something else.
 */
export function parsePurchase(columns: readonly string[]): Omit<Purchase, 'orderId'> | { readonly expected: string } {
  if (columns.length !== 4 && columns.length !== 5) {
    return { expected: `4 or 5 columns (customer, day, CDs and dollars last), got ${columns.length}` }
  }
  const customers = columns.slice(0, -3)
  const [dayText, unitsText, dollarsText] = columns.slice(-3) as [string, string, string]
  // The characters of an id, so that joined columns stay unambiguous.
  const wrong = customers.find((customer) => !/^[\p{L}\p{N}._@+-]{1,64}$/u.test(customer))
  if (wrong !== undefined) return { expected: `a customer of at most 64 letters, digits and . _ @ + -, got ${quote(wrong)}` }
  const day = parseCalendarDay(dayText)
  if (day === null) return { expected: `a day of the calendar as YYYYMMDD, from 1900 to 2199, got ${quote(dayText)}` }
  const units = /^\d{1,7}$/.test(unitsText) ? Number(unitsText) : Infinity
  if (units > mostUnits) return { expected: `a whole number of CDs from 0 to 1,000,000, got ${quote(unitsText)}` }
  const cents = parseDollars(dollarsText)
  if (cents === null || cents > mostCents) {
    return { expected: `dollars from 0 to 10,000,000 with at most 2 decimals, got ${quote(dollarsText)}` }
  }
  return { customer: customers[0]!, day, units, cents }
}

function quote(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text)
}
