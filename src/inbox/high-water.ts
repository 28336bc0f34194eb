import type { Coordinate } from '../message/coordinate.ts'

/**
 * How far a reader has come in each of the in-order streams that reach it, `[tick, seq]` by `<source epoch>/<generation>/<stream>`. A message
 * at or below is a repeat: its sender brought it earlier, and nothing overtakes within a stream. See `Coordinate`.
 */
export type HighWater = Readonly<Record<string, readonly [tick: number, seq: number]>>

/** Streams remembered at most; beyond that the one least far of the oldest generation goes. Far above any number of live senders. */
const mostStreams = 256

/** A high water that rises while a batch is gone through. */
export class RisingWater {
  #marks: HighWater
  #changed = false

  constructor(marks: HighWater) {
    this.#marks = marks
  }

  /** Is the message at or below the mark? Then its sender brought it before. */
  covers(coordinate: Coordinate): boolean {
    return isAtOrBelow(this.#marks[streamOf(coordinate)], coordinate.tick, coordinate.seq)
  }

  /** The message is taken. Called for one that is not, it is lost: whoever reads it next takes it for a repeat. */
  rise(coordinate: Coordinate): void {
    const { tick, seq } = coordinate
    const name = streamOf(coordinate)
    if (isAtOrBelow(this.#marks[name], tick, seq)) return
    if (!this.#changed) this.#marks = { ...this.#marks }
    this.#changed = true
    ;(this.#marks as Record<string, readonly [number, number]>)[name] = [tick, seq]
  }

  get marks(): HighWater {
    return this.#changed ? bounded(this.#marks) : this.#marks
  }
}

function isAtOrBelow(mark: HighWater[string] | undefined, tick: number, seq: number): boolean {
  return mark !== undefined && (mark[0] - tick || mark[1] - seq) >= 0
}

function streamOf({ sourceEpoch, generation, stream }: Coordinate): string {
  return `${sourceEpoch}/${generation}/${stream}`
}

/** The highest mark of each stream: where new lanes begin that follow several old ones. */
export function highestOf(waters: readonly HighWater[]): HighWater {
  const highest: Record<string, readonly [number, number]> = {}
  for (const water of waters) {
    for (const [name, mark] of Object.entries(water)) {
      const known = highest[name]
      if (known === undefined || (mark[0] - known[0] || mark[1] - known[1]) > 0) highest[name] = mark
    }
  }
  return highest
}

function bounded(marks: HighWater): HighWater {
  const names = Object.keys(marks)
  if (names.length <= mostStreams) return marks
  // Insertion order: the stream heard of first is the one most likely gone.
  return Object.fromEntries(Object.entries(marks).slice(names.length - mostStreams))
}
