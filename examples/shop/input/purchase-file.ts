import { readFile } from 'node:fs/promises'
import type { Purchase } from './purchase.ts'
import { columnsOf, isHeader, parsePurchase } from './purchase-line.ts'

/** A line that is not a purchase. Names its number, what was expected, and what to do. */
export class MalformedLine extends Error {
  override readonly name = 'MalformedLine'
  readonly line: number

  constructor(file: string, line: number, expected: string) {
    super(`${file}, line ${line}: expected ${expected}. Nothing was placed.`)
    this.line = line
  }
}

/** Reads a file of purchases. Rejects with `MalformedLine`, or with Node's own error when the file cannot be read. */
export async function readPurchases(file: string): Promise<readonly Purchase[]> {
  return parsePurchases(await readFile(file), file)
}

/**
 * Reads every line before anything is returned. LF and CRLF end a line; blank lines, a byte order mark and a header without numbers are
 * passed over. Throws `MalformedLine` for the first line that is anything else.
 */
export function parsePurchases(bytes: Uint8Array, file: string): readonly Purchase[] {
  const purchases: Purchase[] = []
  const occurrences = new Map<string, number>()
  let width: { readonly columns: number; readonly line: number } | null = null
  let isFirst = true
  for (const [number, text] of numberedLines(bytes, file)) {
    const columns = columnsOf(text)
    if (columns.length === 0) continue
    const mayBeHeader = isFirst
    isFirst = false
    if (mayBeHeader && isHeader(columns)) continue
    const purchase = parsePurchase(columns)
    if ('expected' in purchase) throw new MalformedLine(file, number, purchase.expected)
    width ??= { columns: columns.length, line: number }
    // A line that lost its first column would otherwise pass for one of another customer.
    if (columns.length !== width.columns) {
      throw new MalformedLine(file, number, `${width.columns} columns as in line ${width.line}, got ${columns.length}`)
    }
    const fields = columns.join(':')
    const occurrence = (occurrences.get(fields) ?? 0) + 1
    occurrences.set(fields, occurrence)
    purchases.push({ orderId: `${fields}:${occurrence}`, ...purchase })
  }
  return purchases
}

function* numberedLines(bytes: Uint8Array, file: string): Generator<readonly [number: number, text: string]> {
  // Each line is decoded by itself, so that a byte which is not UTF-8 is reported with its line.
  const utf8 = new TextDecoder('utf-8', { fatal: true })
  let start = 0
  for (let number = 1; start < bytes.length; number++) {
    const newline = bytes.indexOf(0x0a, start)
    const end = newline === -1 ? bytes.length : newline
    let text: string
    try {
      text = utf8.decode(bytes.subarray(start, end))
    } catch {
      throw new MalformedLine(file, number, 'text in UTF-8, got other bytes')
    }
    yield [number, text]
    start = end + 1
  }
}
