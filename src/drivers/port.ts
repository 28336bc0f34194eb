import type { ConsumerStore } from '../consumer/port.ts'
import type { OutboxMessage } from '../message/outbox-message.ts'
import type { Row, Transaction } from '../message/transaction.ts'
import type { OutboxStore } from '../outbox/port.ts'

/**
 * What a database driver offers a service: the stores of the patterns, and transactions that publish at their end.
 *
 * @module
 */

/** Made by a driver's factory (`postgres({ … })`, `memory()`). Nothing is opened before `open`. */
export interface DatabaseDriver {
  /** Connects, and brings the tables up to date. Rejects with `DATABASE_UNREACHABLE`, or with what a migration rejects with. */
  open(service: string): Promise<ServiceDatabase>
}

/** A service's database, open. */
export interface ServiceDatabase {
  readonly outbox: OutboxStore
  readonly consumer: ConsumerStore
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
