const form = /^(\d{1,10})(?:\.(\d{1,2}))?$/

/**
 * Dollars as text to whole cents, digit by digit: no floating-point number is ever made, so `0.29` is 29 and not 28.999….
 * `null` for anything but digits with at most two decimals.
 */
export function parseDollars(text: string): number | null {
  const match = form.exec(text)
  if (match === null) return null
  const [, dollars, decimals = ''] = match
  return Number(dollars) * 100 + Number(decimals.padEnd(2, '0'))
}

/** Cents as dollars, for people: `12345` is `123.45`. */
export function formatDollars(cents: number): string {
  return `${Math.trunc(cents / 100)}.${String(cents % 100).padStart(2, '0')}`
}
