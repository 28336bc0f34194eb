import { afterAll } from 'vitest'
import { PostgresDatabase } from '../../../src/drivers/postgres/database.ts'
import { migrate } from '../../../src/drivers/postgres/migrations/migrate.ts'
import { PostgresOperationStore } from '../../../src/drivers/postgres/postgres-operation-store.ts'
import { Audit, type Operation, type OperationRunner, Operations, runOperations } from '../../../src/operation/index.ts'
import { type ChildProgram, startProgram } from '../../support/child-program.ts'
import { testDatabase } from '../../support/postgres.ts'
import { until } from '../../support/until.ts'
import { bulk, counting, effectTable, marking } from './counting-kinds.ts'

export const ada = { id: 'ada', roles: ['operator'] }

/** A database with operations of the counting kinds, for one test file. Call it at the top level. */
export async function operationDatabase(label: string) {
  const { connectionString } = await testDatabase(label)
  const url = connectionString()
  const database = new PostgresDatabase({ connectionString: url, maxConnections: 12 })
  afterAll(() => database.close())
  await migrate(database, { set: 'service' })
  await database.query(effectTable)
  const store = new PostgresOperationStore({ database })
  const kinds = [counting, bulk, marking(database)]
  const operations = new Operations({ store, kinds, audit: new Audit({ store, host: 'here' }) })
  const run = (leaseMs = 400): OperationRunner => runOperations({ store, kinds, leaseMs, idleMs: 10 })
  const state = async (id: string): Promise<Operation['state']> => (await operations.get(id)).state
  return {
    url,
    database,
    store,
    operations,
    run,
    /** A runner in a process of its own. */
    startProcess: (env: NodeJS.ProcessEnv = {}, leaseMs = 400): ChildProgram =>
      startProgram(new URL('operation-process.ts', import.meta.url), [JSON.stringify({ url, leaseMs })], { env }),
    untilState: (id: string, wanted: Operation['state']): Promise<void> => until(wanted, async () => (await state(id)) === wanted),
    /** The numbers written, in the order of the writes. */
    effects: async (id: string): Promise<readonly number[]> =>
      (await database.query('select n from effect where operation = $1 order by seq', [id])).map(({ n }) => Number(n)),
  }
}

/** 0 up to, not including, `count`. */
export function upTo(count: number): readonly number[] {
  return Array.from({ length: count }, (_, n) => n)
}
