import type { KeyHolds } from '../consumer/hold/port.ts'
import type { ConsumerStore } from '../consumer/port.ts'
import type { AlertStore } from '../dead-letter/alert/port.ts'
import type { InboxStore, LedgerStore } from '../inbox/port.ts'
import type { DeadLetterStore } from '../dead-letter/port.ts'
import type { OutboxMessage } from '../message/outbox-message.ts'
import type { Row, Transaction } from '../message/transaction.ts'
import type { OperationStore } from '../operation/port.ts'
import type { OutboxStore } from '../outbox/port.ts'

/**
 * What a database driver offers a service: the stores of the patterns, and transactions that publish at their end.
 *
 * @module
 */

/** Made by a driver's factory (`postgres({ … })`, `memory()`). Nothing is opened before `open`. */
export interface DatabaseDriver {
  /**
   * Connects, and brings the tables up to date. Rejects with `DATABASE_UNREACHABLE`, with what a migration rejects with, or with `CONFIG_INVALID`
   * when the outbox is to be kept in a way that this driver, or what is stored already, does not allow.
   */
  open(service: string, outbox?: OutboxSettings): Promise<ServiceDatabase>
}

/** How a service's outbox is kept. All processes of a service must agree. */
export interface OutboxSettings {
  /**
   * `keep`: published rows stay as an archive and go by partition; messages carry a coordinate. `delete`: simple mode, rows are deleted once
   * published, so the database stays small; messages carry no coordinate, readers recognise repeats by id alone, and there is no archive to
   * read again. A database whose rows were kept cannot change to `delete`, which would send the archive once more.
   * @default 'keep'
   */
  readonly published?: 'keep' | 'delete'
  /** Relay streams, 1 to 64, that the keys are shared out to. Each needs a connection; fixed when the first relay starts. @default 1 */
  readonly streams?: number
  readonly retention?: Partial<OutboxRetention>
}

/** How long the outbox is kept, where it goes by partition. */
export interface OutboxRetention {
  /** Numbers in one partition: the step in which the archive is dropped. @default 1,000,000 */
  readonly partitionRows: number
  /** Partitions kept ready. Publishers fail when the last one is full, so they must last while no relay runs. @default 4 */
  readonly ahead: number
  /** A full partition is kept at least this long: the archive that replays read. Not for simple mode. @default 86,400,000 ms (a day) */
  readonly keepMs: number
  /** Between two looks. @default 1,000 ms */
  readonly everyMs: number
}

/** A service's database, open. */
export interface ServiceDatabase {
  readonly outbox: OutboxStore
  readonly consumer: ConsumerStore
  /** What the inbox can tell. The consumer's store writes it. */
  readonly inbox: InboxStore
  /** Of idempotency keys. Changes are committed by themselves. */
  readonly ledger: LedgerStore
  readonly deadLetters: DeadLetterStore
  /** Keys that operators hold. */
  readonly holds: KeyHolds
  /** What was said of dead letters, and who is told. */
  readonly alerts: AlertStore
  /** Long-running operations, and who did what. */
  readonly operations: OperationStore
  /** Where it is, for people: host, port and database, never a password. */
  readonly place: string

  /**
   * Runs `work` in a transaction, then asks `publish` for the messages to append, and commits both in one round trip.
   * What `work` or `publish` throws rolls back and is thrown on.
   */
  transaction<T>(work: (tx: Transaction) => Promise<T>, publish: () => Promise<readonly OutboxMessage[]>): Promise<T>

  /** One statement outside a transaction, committed by itself. */
  query<R extends Row = Row>(text: string, params?: readonly unknown[]): Promise<R[]>

  /** Ends what the driver opened. A pool that was given stays open. */
  close(): Promise<void>
}
