import type { OutboxRow } from '../../outbox/port.ts'
import { pageBytes } from './queries/relay.ts'

export interface PageRows {
  readonly rows: readonly OutboxRow[]
  /** Those of them that are not to be sent. */
  readonly skipped: ReadonlySet<OutboxRow>
  /** The last row's number; `null` without rows. */
  readonly last: string | null
  /** It was cut by rows or by bytes, so there may be more. */
  readonly full: boolean
}

/**
 * Reads a page of the outbox that was copied in binary (PostgreSQL documentation, COPY, "Binary Format"). Payloads are views of `copied`, so a page
 * is one piece of memory. Columns as `pageColumns` has them, then `skipped`. Numbers stay exact up to 2^53: at 100,000 messages a second that is
 * 2,800 years.
 */
export function readPage(copied: Buffer, limit: number): PageRows {
  const reader = new CopyReader(copied)
  const rows: OutboxRow[] = []
  const skipped = new Set<OutboxRow>()
  let aggregateType = ''
  let type = ''
  let bytes = 0
  while (reader.next()) {
    const row: OutboxRow = {
      seq: reader.bigint(),
      id: reader.text(),
      aggregateType: (aggregateType = reader.textLike(aggregateType)),
      aggregateId: reader.text(),
      type: (type = reader.textLike(type)),
      payload: reader.bytes(),
      headers: reader.jsonb() as Readonly<Record<string, string>>,
      createdAt: reader.timestamp(),
    }
    bytes = reader.int()
    rows.push(row)
    if (reader.boolean()) skipped.add(row)
  }
  const last = rows.at(-1)
  return { rows, skipped, last: last === undefined ? null : String(last.seq), full: rows.length === limit || bytes >= pageBytes }
}

const signatureSize = 11
/** Microseconds since 2000 is how Postgres counts. */
const year2000Ms = 946_684_800_000

/** Goes through the fields of a binary copy. */
class CopyReader {
  readonly #bytes: Buffer
  #at: number

  constructor(bytes: Buffer) {
    this.#bytes = bytes
    // Signature, flags, and an extension that may be skipped.
    const extension = signatureSize + 4
    this.#at = extension + 4 + bytes.readInt32BE(extension)
  }

  /** Goes to the next row. `false`: there is none. */
  next(): boolean {
    const count = this.#bytes.readInt16BE(this.#at)
    this.#at += 2
    return count !== -1
  }

  bigint(): number {
    const at = this.#field()
    return this.#bytes.readInt32BE(at) * 2 ** 32 + this.#bytes.readUInt32BE(at + 4)
  }

  int(): number {
    return this.#bytes.readInt32BE(this.#field())
  }

  boolean(): boolean {
    return this.#bytes[this.#field()] === 1
  }

  text(): string {
    const start = this.#field()
    return this.#bytes.toString('utf8', start, this.#at)
  }

  /** A text that is mostly the one of the row before: then no new one is made. */
  textLike(former: string): string {
    const start = this.#field()
    const length = this.#at - start
    if (length !== former.length) return this.#bytes.toString('utf8', start, this.#at)
    for (let index = 0; index < length; index++) {
      const byte = this.#bytes[start + index]!
      // Beyond ASCII bytes and units are not the same thing.
      if (byte > 127 || byte !== former.charCodeAt(index)) return this.#bytes.toString('utf8', start, this.#at)
    }
    return former
  }

  /** A view. */
  bytes(): Buffer {
    const start = this.#field()
    return this.#bytes.subarray(start, this.#at)
  }

  jsonb(): unknown {
    const start = this.#field()
    // The first byte is the version of the format, which is 1.
    return JSON.parse(this.#bytes.toString('utf8', start + 1, this.#at))
  }

  timestamp(): Date {
    return new Date(Math.floor(this.bigint() / 1_000) + year2000Ms)
  }

  /** Goes behind the next field and returns where it begins. No column of a page is null. */
  #field(): number {
    const start = this.#at + 4
    this.#at = start + this.#bytes.readInt32BE(this.#at)
    return start
  }
}
