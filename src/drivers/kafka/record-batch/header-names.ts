/**
 * Gives equal names of headers as one string, so that a million records hold a dozen. A table of fixed size, however many names come: where all places
 * of a name are taken, it takes one over.
 */
export class HeaderNames {
  readonly #bytes = new Array<Buffer | undefined>(places).fill(undefined)
  readonly #texts = new Array<string>(places).fill('')

  /** The name that stands in `buffer` from `start` to before `end`. */
  read(buffer: Buffer, start: number, end: number): string {
    const length = end - start
    if (length === 0 || length > longest) return buffer.toString('utf8', start, end)
    const first = placeOf(buffer, start, length)
    for (let step = 0; step < steps; step++) {
      const place = (first + step) % places
      const known = this.#bytes[place]
      if (known === undefined) return this.#keep(place, buffer, start, end)
      if (equal(known, buffer, start, length)) return this.#texts[place]!
    }
    return this.#keep(first, buffer, start, end)
  }

  #keep(place: number, buffer: Buffer, start: number, end: number): string {
    const text = buffer.toString('utf8', start, end)
    this.#bytes[place] = Buffer.from(buffer.subarray(start, end))
    this.#texts[place] = text
    return text
  }
}

const places = 256

/** Places that a name may take, one after the other. */
const steps = 4

/** A longer name is hardly one that recurs. */
const longest = 128

function placeOf(buffer: Buffer, start: number, length: number): number {
  const outer = buffer[start]! * 5 + buffer[start + length - 1]! * 23
  return (outer + buffer[start + (length >> 1)]! * 57 + length * 11) % places
}

/** In JavaScript, because a call of `Buffer.compare` takes longer than a name of usual length. */
function equal(known: Buffer, buffer: Buffer, start: number, length: number): boolean {
  if (known.length !== length) return false
  for (let index = 0; index < length; index++) if (known[index] !== buffer[start + index]) return false
  return true
}
