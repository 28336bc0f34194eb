import type { Envelope } from '../../message/envelope.ts'
import type { Message } from '../../message/message.ts'
import type { LogRecord } from '../../message/port.ts'
import type { Original } from './original-record.ts'

/** A record on its way through a lane, with what was read from it so far, so that running it again does not read it again. */
export class Entry {
  readonly record: LogRecord
  /** Roughly what it holds in memory. */
  readonly bytes: number
  /** Of a record in a retry topic, once it was read. */
  earlier: Original | null = null
  /** Of what it was before it was passed on. */
  envelope: Envelope | null = null
  message: Message | null = null

  constructor(record: LogRecord) {
    this.record = record
    this.bytes = (record.key?.length ?? 0) + (record.value?.length ?? 0) + record.headers.length * bytesPerHeader
  }

  /** What it was before it was passed on; the record itself where it was not. */
  get original(): LogRecord {
    return this.earlier?.record ?? this.record
  }
}

/** Names and values of headers are small and many; counting them one by one would cost more than it tells. */
const bytesPerHeader = 64
