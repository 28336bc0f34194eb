import { appendUnderWay, brokerClosed } from '../../message/broker-error.ts'
import type { Coordinate } from '../../message/coordinate.ts'
import { checkPage, withoutRepeats } from '../../message/page.ts'
import type { Appender, Refusal, SequencedRecord, StreamClaim } from '../../message/port.ts'
import type { MemoryLog } from './memory-log.ts'

/** Sends one stream's pages. A page is in the log when `append` was called, not only when it resolves. */
export class MemoryAppender implements Appender {
  readonly #log: MemoryLog
  readonly #claim: StreamClaim
  readonly #stream: ReturnType<MemoryLog['claim']>
  readonly #maxRecordBytes: number
  readonly #checkBroker: () => void
  #closed = false
  #busy = false

  /** Takes the stream over. Throws `BROKER_FENCED`. `checkBroker` throws once the broker is closed. */
  constructor(log: MemoryLog, claim: StreamClaim, maxRecordBytes: number, checkBroker: () => void) {
    this.#log = log
    this.#claim = claim
    this.#stream = log.claim(claim)
    this.#maxRecordBytes = maxRecordBytes
    this.#checkBroker = checkBroker
  }

  get last(): Coordinate | null {
    return this.#stream.last
  }

  async append(page: readonly SequencedRecord[]): Promise<readonly Refusal[]> {
    this.#checkBroker()
    if (this.#closed) throw brokerClosed('appender')
    if (this.#busy) throw appendUnderWay()
    const { records, refusals } = checkPage(page, this.#claim, this.#maxRecordBytes)
    this.#log.append(this.#claim, this.#stream, withoutRepeats(records, this.#stream.last))
    this.#busy = true
    await Promise.resolve()
    this.#busy = false
    return refusals
  }

  async close(): Promise<void> {
    this.#closed = true
  }
}
