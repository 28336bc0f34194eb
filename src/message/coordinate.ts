/**
 * Where a message stands in the strictly ordered output of one sender.
 *
 * A *stream* is one relay shard. Within one `(sourceEpoch, generation, stream)` coordinates rise strictly from message to message, except for
 * messages that are sent again after a crash, which carry the coordinate they had. So a reader that keeps the highest one it has handled
 * recognises every repeat. `sourceEpoch` names the source database and changes when it is restored; `generation` rises with every change of
 * the streams. Source: the high-water rule of PgQ's consumers, with ticks that are stored before anything is sent.
 */
export interface Coordinate {
  /** Name of the source database and of its life, `<random id>.<number>`. */
  readonly sourceEpoch: string
  readonly generation: number
  readonly stream: number
  readonly tick: number
  readonly seq: number
}

/** Wire form: `sourceEpoch/generation/stream/tick/seq`. */
export function formatCoordinate(c: Coordinate): string {
  return `${c.sourceEpoch}/${c.generation}/${c.stream}/${c.tick}/${c.seq}`
}

/** Reads the wire form; `null` when it is not one. */
export function parseCoordinate(text: string): Coordinate | null {
  const a = text.indexOf('/')
  const b = text.indexOf('/', a + 1)
  const c = text.indexOf('/', b + 1)
  const d = text.indexOf('/', c + 1)
  // A missing one turns up as -1, and lets a later search begin anew.
  if (a < 1 || b < a || c < b || d < c) return null
  const generation = wholeNumber(text, a + 1, b)
  const stream = wholeNumber(text, b + 1, c)
  const tick = wholeNumber(text, c + 1, d)
  const seq = wholeNumber(text, d + 1, text.length)
  if (generation < 0 || stream < 0 || tick < 0 || seq < 0) return null
  return { sourceEpoch: text.slice(0, a), generation, stream, tick, seq }
}

/** Order within one stream: negative when `a` was sent first. */
export function compareCoordinates(a: Pick<Coordinate, 'tick' | 'seq'>, b: Pick<Coordinate, 'tick' | 'seq'>): number {
  return a.tick - b.tick || a.seq - b.seq
}

/** Decimal digits only, at least one, at most what a double holds exactly; else -1. Read digit by digit: this runs for every record. */
function wholeNumber(text: string, from: number, to: number): number {
  if (from === to || to - from > 16) return -1
  let value = 0
  for (let i = from; i < to; i++) {
    const digit = text.charCodeAt(i) - 48
    if (digit < 0 || digit > 9) return -1
    value = value * 10 + digit
  }
  return value <= Number.MAX_SAFE_INTEGER ? value : -1
}
