/** Chance that is the same for the same seed (mulberry32). */
export function chanceOf(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** A file of purchases: repeats, blank lines, either line end, either number of columns, maybe a header and a byte order mark. */
export function randomInput(seed: number, lines: number): string {
  const chance = chanceOf(seed)
  const below = (n: number): number => Math.floor(chance() * n)
  const hasSecondColumn = chance() < 0.5
  const end = chance() < 0.5 ? '\r\n' : '\n'
  const space = (): string => (chance() < 0.1 ? '\t' : ' '.repeat(1 + below(3)))
  const made: string[] = []
  while (made.length < lines) {
    if (made.length > 0 && chance() < 0.05) {
      made.push(made[below(made.length)]!)
      continue
    }
    const customer = String(1 + below(Math.max(lines / 3, 1))).padStart(5, '0')
    const day = new Date(Date.UTC(1997, 0, 1 + below(540))).toISOString().slice(0, 10).replaceAll('-', '')
    const dollars = `${below(220)}${chance() < 0.1 ? '' : `.${String(below(100)).padStart(2, '0')}`}`
    const columns = [customer, ...(hasSecondColumn ? [String(below(1_000)).padStart(4, '0')] : []), day, String(1 + below(13)), dollars]
    made.push(columns.reduce((line, column) => line + space() + column, ''))
  }
  const withBlanks = made.map((line) => (chance() < 0.02 ? `${end}${line}` : line))
  const header = chance() < 0.3 ? `customer day cds dollars${end}` : ''
  return `${chance() < 0.3 ? '\uFEFF' : ''}${header}${withBlanks.join(end)}${chance() < 0.5 ? end : ''}`
}
