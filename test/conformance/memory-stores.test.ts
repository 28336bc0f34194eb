import {
  consumerStoreCases,
  deadLetterStoreCases,
  exercise,
  inboxStoreCases,
  ledgerStoreCases,
  outboxStoreCases,
} from '../../src/conformance/index.ts'
import { MemoryConsumerStore, MemoryDatabase, MemoryLedgerStore, MemoryOutboxStore, memoryView } from '../../src/drivers/memory/index.ts'
import { ManualClock } from './manual-clock.ts'
import { vitestRunner } from './vitest-runner.ts'

exercise(
  outboxStoreCases,
  {
    offers: [],
    async open() {
      const database = new MemoryDatabase()
      return {
        store: new MemoryOutboxStore({ database }),
        begin: async () => {
          const tx = database.begin()
          return { tx, commit: async () => tx.commit(), rollBack: async () => tx.rollBack() }
        },
        close: () => Promise.resolve(),
      }
    },
  },
  vitestRunner,
)

exercise(
  consumerStoreCases,
  {
    offers: [],
    async open() {
      const database = new MemoryDatabase()
      const published: string[] = []
      const store = new MemoryConsumerStore({
        database,
        append: async (tx, messages) => tx.stage(() => void published.push(...messages.map(({ id }) => id))),
      })
      return {
        store,
        group: 'group',
        effect: async (tx, name) => memoryView(tx).set(name, true),
        effects: async () => database.data.entries().map(([name]) => name),
        queued: async (partition) => [...store.queues(partition).values()].flat().map(({ record }) => record.offset),
        deadLetters: async () => store.deadLetters.length,
        published: async () => published,
        close: () => Promise.resolve(),
      }
    },
  },
  vitestRunner,
)

exercise(
  ledgerStoreCases,
  {
    offers: [],
    async open() {
      const database = new MemoryDatabase()
      return {
        store: new MemoryLedgerStore(database),
        scope: 'group',
        transaction: (work) => database.transaction(work),
        close: () => Promise.resolve(),
      }
    },
  },
  vitestRunner,
)

exercise(
  deadLetterStoreCases,
  {
    offers: [],
    async open() {
      const database = new MemoryDatabase()
      const consumer = new MemoryConsumerStore({ database })
      return {
        store: consumer.letters,
        consumer,
        holds: consumer.holds,
        audit: { listAudit: async (filter) => database.auditLog.list(filter) },
        group: 'group',
        waiting: async (partition) => {
          const queue = [...consumer.queues(partition).values()].flat().sort((a, b) => a.record.offset - b.record.offset)
          return queue.map(({ record, dead }) => ({ offset: record.offset, dead, value: record.value?.toString() ?? null }))
        },
        close: () => Promise.resolve(),
      }
    },
  },
  vitestRunner,
)

exercise(
  inboxStoreCases,
  {
    offers: [],
    async open() {
      const clock = new ManualClock()
      const consumer = new MemoryConsumerStore({ database: new MemoryDatabase({ clock }) })
      return { consumer, inbox: consumer.inbox, pass: (ms) => clock.advance(ms), close: () => Promise.resolve() }
    },
  },
  vitestRunner,
)
