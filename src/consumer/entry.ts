import type { Envelope } from '../message/envelope.ts'
import type { Message } from '../message/message.ts'
import type { LogRecord } from '../message/port.ts'

/** A record on its way through a lane, with what was read from it so far, so that running it again does not read it again. */
export class Entry {
  readonly record: LogRecord
  /** Roughly what it holds in memory. */
  readonly bytes: number
  envelope: Envelope | null = null
  message: Message | null = null

  constructor(record: LogRecord) {
    this.record = record
    this.bytes = (record.key?.length ?? 0) + (record.value?.length ?? 0) + record.headers.length * bytesPerHeader
  }
}

/** Names and values of headers are small and many; counting them one by one would cost more than it tells. */
const bytesPerHeader = 64
