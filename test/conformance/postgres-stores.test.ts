import { randomUUID } from 'node:crypto'
import { afterAll } from 'vitest'
import {
  consumerStoreCases,
  deadLetterStoreCases,
  exercise,
  inboxStoreCases,
  ledgerStoreCases,
  outboxStoreCases,
} from '../../src/conformance/index.ts'
import { PostgresDatabase } from '../../src/drivers/postgres/database.ts'
import {
  PostgresConsumerStore,
  PostgresInboxStore,
  PostgresKeyHolds,
  PostgresDeadLetterStore,
  PostgresOperationStore,
  PostgresLedgerStore,
  PostgresOutboxStore,
} from '../../src/drivers/postgres/index.ts'
import { migrate } from '../../src/drivers/postgres/migrations/migrate.ts'
import { pgTransaction } from '../../src/drivers/postgres/foreign-transactions.ts'
import { testDatabase } from '../support/postgres.ts'
import { vitestRunner } from './vitest-runner.ts'

const { connectionString, pool } = await testDatabase('stores')
const database = new PostgresDatabase({ connectionString: connectionString() })
afterAll(() => database.close())
await migrate(database, { set: 'service' })
await database.query('create table effect (group_name text, name text)')
const clients = pool({ max: 4 })

exercise(
  outboxStoreCases,
  {
    offers: [],
    async open() {
      await database.query('truncate tidemark.outbox, tidemark.relay, tidemark.relay_parked, tidemark.relay_held, tidemark.relay_topic')
      return {
        store: new PostgresOutboxStore({ database }),
        begin: async () => {
          const client = await clients.connect()
          await client.query('begin')
          const end = async (how: string): Promise<void> => {
            await client.query(how)
            client.release()
          }
          return { tx: pgTransaction(client), commit: () => end('commit'), rollBack: () => end('rollback') }
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
      const group = randomUUID()
      return {
        store: new PostgresConsumerStore({ database }),
        group,
        effect: async (tx, name) => void (await tx.query('insert into effect values ($1, $2)', [group, name])),
        effects: async () =>
          (await database.query('select name from effect where group_name = $1', [group])).map(({ name }) => String(name)),
        queued: async (partition) => {
          const text = 'select log_offset from tidemark.parked_msg where group_name = $1 and partition = $2 order by log_offset'
          return (await database.query(text, [group, partition.partition])).map(({ log_offset }) => Number(log_offset))
        },
        deadLetters: async () => {
          const [row] = await database.query('select count(*) as letters from tidemark.dead_letter where group_name = $1', [group])
          return Number(row!['letters'])
        },
        published: async () =>
          (await database.query('select id::text from tidemark.outbox where aggregatetype = $1', [group])).map(({ id }) => String(id)),
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
      return {
        store: new PostgresLedgerStore({ database }),
        scope: randomUUID(),
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
      const group = randomUUID()
      return {
        store: new PostgresDeadLetterStore({ database }),
        consumer: new PostgresConsumerStore({ database }),
        holds: new PostgresKeyHolds({ database }),
        audit: new PostgresOperationStore({ database }),
        group,
        waiting: async (partition) => {
          const text =
            'select log_offset, dead, value from tidemark.parked_msg where group_name = $1 and topic_id = $2 and partition = $3 order by log_offset'
          const rows = await database.query(text, [group, partition.topicId, partition.partition])
          return rows.map(({ log_offset, dead, value }) => ({
            offset: Number(log_offset),
            dead: dead === true,
            value: (value as Buffer | null)?.toString() ?? null,
          }))
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
      await database.query('truncate tidemark.inbox, tidemark.consumer_position, tidemark.dead_letter cascade')
      const fresh = `current = 0, previous = null, since = now(), began = array[now(), null, null, null]`
      await database.query(`update tidemark.inbox_rotation set ${fresh}`)
      return {
        consumer: new PostgresConsumerStore({ database }),
        inbox: new PostgresInboxStore({ database }),
        // Time passes by what is stored getting older.
        pass: async (ms) => {
          const earlier = `$1::float8 * interval '1 millisecond'`
          await database.query(
            `update tidemark.inbox_rotation set since = since - ${earlier},
              began = array(select b - ${earlier} from unnest(began) with ordinality as u(b, n) order by n)`,
            [ms],
          )
        },
        close: () => Promise.resolve(),
      }
    },
  },
  vitestRunner,
)
