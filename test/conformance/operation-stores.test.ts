import { randomUUID } from 'node:crypto'
import { afterAll, describe } from 'vitest'
import { exercise, operationStoreCases } from '../../src/conformance/index.ts'
import { MemoryDatabase, MemoryOperationStore, memoryView } from '../../src/drivers/memory/index.ts'
import { PostgresDatabase } from '../../src/drivers/postgres/database.ts'
import { PostgresOperationStore } from '../../src/drivers/postgres/index.ts'
import { migrate } from '../../src/drivers/postgres/migrations/migrate.ts'
import { testDatabase } from '../support/postgres.ts'
import { vitestRunner } from './vitest-runner.ts'

const { connectionString } = await testDatabase('operation_stores')
const database = new PostgresDatabase({ connectionString: connectionString() })
afterAll(() => database.close())
await migrate(database, { set: 'service' })
await database.query('create table effect (kind text, name text)')

describe('postgres', () => {
  const open = async () => {
    const kind = randomUUID()
    return {
      store: new PostgresOperationStore({ database }),
      kind,
      effect: async (tx: { query(text: string, params: readonly unknown[]): Promise<unknown> }, name: string) =>
        void (await tx.query('insert into effect values ($1, $2)', [kind, name])),
      effects: async () =>
        (await database.query('select name from effect where kind = $1 order by name', [kind])).map(({ name }) => String(name)),
      close: () => Promise.resolve(),
    }
  }
  exercise(operationStoreCases, { offers: [], open }, vitestRunner)
})

describe('memory', () => {
  exercise(
    operationStoreCases,
    {
      offers: [],
      async open() {
        const memory = new MemoryDatabase()
        return {
          store: new MemoryOperationStore({ database: memory }),
          kind: 'kind',
          effect: async (tx, name) => memoryView(tx).set(name, true),
          effects: async () => memory.data.entries().map(([name]) => name),
          close: () => Promise.resolve(),
        }
      },
    },
    vitestRunner,
  )
})
