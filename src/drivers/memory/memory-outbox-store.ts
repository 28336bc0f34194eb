import { TidemarkError } from '../../errors.ts'
import type { OutboxMessage } from '../../message/outbox-message.ts'
import type { Transaction } from '../../message/transaction.ts'
import type { AppendHints, HeldBack, OutboxStore, RelayStream } from '../../outbox/port.ts'
import type { MemoryDatabase } from './memory-database.ts'
import { MemoryOutbox, type ParkedRow, keyOf } from './memory-outbox.ts'
import { MemoryRelayStream } from './memory-relay-stream.ts'
import { MemoryTransaction } from './memory-transaction.ts'

export interface MemoryOutboxOptions {
  readonly database: MemoryDatabase
  /** Relay streams the keys are shared out to. @default 1 */
  readonly streams?: number
  /** `delete`: messages carry no coordinate, as in simple mode elsewhere. Published rows are removed in either case. @default 'keep' */
  readonly published?: 'keep' | 'delete'
}

/**
 * The outbox in memory. A tick publishes what was committed after the former one, whenever its transactions began; numbers are drawn under the
 * locks of the keys. Rows are removed once published.
 */
export class MemoryOutboxStore implements OutboxStore {
  /** What is stored, for whoever looks in from outside: a simulation, a test. */
  readonly tables: MemoryOutbox
  readonly #database: MemoryDatabase
  readonly #coordinates: boolean

  constructor({ database, streams = 1, published = 'keep' }: MemoryOutboxOptions) {
    this.#database = database
    this.#coordinates = published === 'keep'
    this.tables = new MemoryOutbox(database.clock, streams)
  }

  async append(tx: Transaction, messages: readonly OutboxMessage[], { keyLocked = false }: AppendHints = {}): Promise<void> {
    if (!(tx instanceof MemoryTransaction) || !tx.isOf(this.#database)) throw foreign()
    const keys = keyLocked ? [] : [...new Set(messages.map(keyOf))].sort()
    // Without its own lock the number of a message says nothing about the order of the commits.
    for (const key of keys) await tx.lock(`outbox ${key}`)
    await this.#database.step('append', tx)
    const createdAt = new Date(this.#database.clock.now())
    const rows = messages.map((message) => ({ ...message, seq: this.tables.draw(), createdAt }))
    tx.stage((commit) => this.tables.add(rows, commit))
  }

  async pending(): Promise<number> {
    const { commits } = this.#database
    const waiting = this.tables.streams.map((row) => {
      const unpublished = this.tables.between(row, row.cur, commits).length
      const left = this.tables.between(row, row.prev, row.cur).filter(({ seq }) => seq > row.doneSeq).length
      return unpublished + (row.finished ? 0 : Math.max(1, left)) + this.tables.releasing(row).length
    })
    return waiting.reduce((sum, one) => sum + one, 0)
  }

  async heldBack(): Promise<HeldBack> {
    return { keys: this.tables.parked.size, messages: this.tables.held.size }
  }

  async openStream(stream: number): Promise<RelayStream> {
    const row = this.tables.streams[stream]
    if (row !== undefined) return new MemoryRelayStream(this.#database, this.tables, row, this.#coordinates)
    throw new TidemarkError(
      'CONFIG_INVALID',
      `This outbox has ${this.tables.streams.length} stream(s); number ${stream} is not among them.`,
    )
  }

  /** Keys that are held back because the broker refused a message of theirs. */
  async parked(): Promise<readonly Readonly<ParkedRow>[]> {
    return [...this.tables.parked.values()].map((key) => ({ ...key }))
  }

  /** Lets the next tick send what was held of a key, in order. `false`: it is not parked, or being released. */
  async release(key: Pick<OutboxMessage, 'aggregateType' | 'aggregateId'>): Promise<boolean> {
    const parked = this.tables.parked.get(keyOf(key))
    if (parked === undefined || parked.releasing) return false
    parked.releasing = true
    return true
  }
}

function foreign(): TidemarkError {
  return new TidemarkError('INPUT_INVALID', 'append expected a transaction of this memory database, and got another one.', {
    remedy: 'Pass the tx of service.transaction, or of database.begin().',
  })
}
