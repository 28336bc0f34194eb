/** Where the live table appears: drawn over itself in a terminal, else appended. */
export interface LiveScreen {
  /** How often it is worth a look. */
  readonly intervalMs: number
  /** Whether `draw` takes a table, rather than a line for a log. */
  readonly isTerminal: boolean
  draw(lines: readonly string[]): void
  /** A line that stays, above the table. */
  say(text: string): void
}

/** What is needed of `process.stdout`. */
export interface ScreenStream {
  readonly isTTY?: boolean
  readonly columns?: number
  write(text: string): unknown
}

export function liveScreen(stream: ScreenStream): LiveScreen {
  const isTerminal = stream.isTTY === true && process.env['TERM'] !== 'dumb'
  if (!isTerminal) {
    const write = (text: string): void => void stream.write(`${text}\n`)
    return { intervalMs: 10_000, isTerminal, draw: (lines) => lines.forEach(write), say: write }
  }
  let drawn: readonly string[] = []
  const draw = (lines: readonly string[]): void => {
    // Up to where the table began, and everything below it away. A line wider than the terminal would take two, so it is cut; some terminals
    // do not know how wide they are.
    const { columns = 0 } = stream
    const width = columns > 0 ? columns - 1 : Infinity
    const up = drawn.length === 0 ? '' : `\u001b[${drawn.length}A`
    stream.write(`${up}\u001b[J${lines.map((line) => `${line.slice(0, width)}\n`).join('')}`)
    drawn = lines
  }
  const say = (text: string): void => {
    const table = drawn
    draw([])
    stream.write(`${text}\n`)
    drawn = []
    draw(table)
  }
  return { intervalMs: 1_000, isTerminal, draw, say }
}
