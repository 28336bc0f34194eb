import type { LogRecord } from '../message/port.ts'
import { Entry } from './entry.ts'

/** Under which key a message waits. Without one it waits by itself, under a key that is made up and that nobody publishes. */
export function parkedKeyOf({ key, offset }: Pick<LogRecord, 'key' | 'offset'>): { readonly key: Buffer; readonly keyless: boolean } {
  return key === null ? { key: Buffer.from(`\0no key, offset ${offset}`), keyless: true } : { key, keyless: false }
}

/** What a waiting message counts for, against `ParkedBounds`. */
export function parkedBytes(record: LogRecord): number {
  return new Entry(record).bytes
}
