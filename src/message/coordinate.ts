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
  const parts = text.split('/')
  if (parts.length !== 5) return null
  const [sourceEpoch, ...rest] = parts as [string, string, string, string, string]
  if (sourceEpoch === '') return null
  const [generation, stream, tick, seq] = rest.map(wholeNumber) as [number, number, number, number]
  if (Number.isNaN(generation + stream + tick + seq)) return null
  return { sourceEpoch, generation, stream, tick, seq }
}

/** Order within one stream: negative when `a` was sent first. */
export function compareCoordinates(a: Pick<Coordinate, 'tick' | 'seq'>, b: Pick<Coordinate, 'tick' | 'seq'>): number {
  return a.tick - b.tick || a.seq - b.seq
}

function wholeNumber(text: string): number {
  return /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN
}
