const firstYear = 1900
const lastYear = 2199

/** `19970131` to `1997-01-31`; `null` for a day the calendar does not have, or a year outside 1900 to 2199, which is a slip of the pen. */
export function parseCalendarDay(text: string): string | null {
  const match = /^(\d{4})(\d{2})(\d{2})$/.exec(text)
  if (match === null) return null
  const day = match.slice(1).join('-')
  const year = Number(match[1])
  if (year < firstYear || year > lastYear) return null
  const date = new Date(`${day}T00:00:00Z`)
  // Date accepts the 31st of a month of 30 days and makes it the 1st of the next.
  return !Number.isNaN(date.getTime()) && date.toISOString().startsWith(day) ? day : null
}
