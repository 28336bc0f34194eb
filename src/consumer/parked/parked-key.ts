import type { LogRecord } from '../../message/port.ts'
import { Entry } from '../batch/entry.ts'

/** How keys begin that are made up. */
export const keylessPrefix = '\0no key, offset '

/** At most so many keys that wait in several partitions are named. */
export const splitExamples = 5

/** Under which key a message waits. Without one it waits by itself, under a key that is made up and that nobody publishes. */
export function parkedKeyOf({ key, offset }: Pick<LogRecord, 'key' | 'offset'>): { readonly key: Buffer; readonly keyless: boolean } {
  return key === null ? { key: Buffer.from(`${keylessPrefix}${offset}`), keyless: true } : { key, keyless: false }
}

/** What a waiting message counts for, against `ParkedBounds`. */
export function parkedBytes(record: LogRecord): number {
  return new Entry(record).bytes
}
