import type { Clock } from '../../internal/clock.ts'
import type { OutboxMessage } from '../../message/outbox-message.ts'
import type { Transaction } from '../../message/transaction.ts'
import { TidemarkError } from '../../errors.ts'
import type { DatabaseDriver, OutboxSettings, ServiceDatabase } from '../port.ts'
import { MemoryConsumerStore } from './memory-consumer-store.ts'
import type { MemoryDeadLetter } from './memory-consumer-tables.ts'
import { MemoryDatabase } from './memory-database.ts'
import { MemoryLedgerStore } from './memory-ledger-store.ts'
import { MemoryOperationStore } from './memory-operation-store.ts'
import { MemoryOutboxStore } from './memory-outbox-store.ts'
import { noSql } from './memory-transaction.ts'

export interface MemoryOptions {
  /** @default this process's clock */
  readonly clock?: Clock
}

/** A service's database in memory, for tests. It can be looked into from outside. */
export interface MemoryDriver extends DatabaseDriver {
  /** The committed value of a key that `memoryView(tx).set` gave; `undefined`: there is none. */
  get(key: string): unknown
  /** All committed values, in the order of their keys. */
  entries(): readonly (readonly [key: string, value: unknown])[]
  /** Messages that were given up, with the reason. */
  readonly deadLetters: readonly MemoryDeadLetter[]
}

/**
 * A service's database in memory: outbox, positions, inbox and dead letters with real transactions, and values by key in place of SQL. For
 * users' tests; everything is gone with the process. One of these is one database: give it to two services of the same name, and they are two
 * processes of it.
 *
 * ```ts
 * const database = memory()
 * const billing = service('billing', { database, broker: memoryBroker() })
 * billing.consume(OrderPlaced, (order, { tx }) => memoryView(tx).set(order.data.orderId, order.data.total))
 * // …
 * assert.equal(database.get('o-1'), 42)
 * ```
 */
export function memory({ clock }: MemoryOptions = {}): MemoryDriver {
  const database = new MemoryDatabase(clock === undefined ? {} : { clock })
  const outbox = outboxOf(database)
  const consumer = new MemoryConsumerStore({ database, append: (tx, messages) => outbox.opened().append(tx, messages) })
  const ledger = new MemoryLedgerStore(database)
  const operations = new MemoryOperationStore({ database })
  return {
    get: (key) => database.data.get(key),
    entries: () => database.data.entries(),
    get deadLetters() {
      return consumer.deadLetters
    },
    open: async (_service, settings = {}) => openDatabase(database, outbox.open(settings), consumer, ledger, operations),
  }
}

/** The outbox is made as the first opening wants it, and the others must want it so. */
function outboxOf(database: MemoryDatabase): { open(settings: OutboxSettings): MemoryOutboxStore; opened(): MemoryOutboxStore } {
  let made: { readonly store: MemoryOutboxStore; readonly streams: number; readonly published: 'keep' | 'delete' } | null = null
  const open = ({ streams = 1, published = 'keep' }: OutboxSettings): MemoryOutboxStore => {
    made ??= { store: new MemoryOutboxStore({ database, streams, published }), streams, published }
    if (made.streams === streams && made.published === published) return made.store
    throw new TidemarkError('CONFIG_INVALID', `This outbox has ${kept(made)}; the service was set to ${kept({ streams, published })}.`, {
      remedy: 'Give all services of one memory() the same outbox settings.',
    })
  }
  return { open, opened: () => made?.store ?? open({}) }
}

function kept({ streams, published }: Required<Pick<OutboxSettings, 'streams' | 'published'>>): string {
  return `streams: ${streams}, published: '${published}'`
}

function openDatabase(
  database: MemoryDatabase,
  outbox: MemoryOutboxStore,
  consumer: MemoryConsumerStore,
  ledger: MemoryLedgerStore,
  operations: MemoryOperationStore,
): ServiceDatabase {
  return {
    outbox,
    consumer,
    inbox: consumer.inbox,
    ledger,
    deadLetters: consumer.letters,
    holds: consumer.holds,
    alerts: consumer.alerts,
    operations,
    place: 'memory',
    transaction: <T>(work: (tx: Transaction) => Promise<T>, publish: () => Promise<readonly OutboxMessage[]>) =>
      database.transaction(async (tx) => {
        const result = await work(tx)
        const messages = await publish()
        if (messages.length > 0) await outbox.append(tx, messages)
        return result
      }),
    // A service asks this to see whether its database answers.
    query: (text) => (text === 'select 1' ? Promise.resolve([]) : Promise.reject(noSql())),
    close: () => Promise.resolve(),
  }
}
