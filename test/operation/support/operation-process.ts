/**
 * A runner of operations in a process of its own, to be killed and frozen: `operation-process.ts <settings as JSON>`. Says `claimed`, `lost`, `done`.
 *
 * @module
 */
import { PostgresDatabase } from '../../../src/drivers/postgres/database.ts'
import { PostgresOperationStore } from '../../../src/drivers/postgres/postgres-operation-store.ts'
import { runOperations } from '../../../src/operation/index.ts'
import { bulk, counting, marking } from './counting-kinds.ts'

const { url, leaseMs } = JSON.parse(process.argv[2]!) as { readonly url: string; readonly leaseMs: number }
const database = new PostgresDatabase({ connectionString: url, maxConnections: 6 })
const runner = runOperations({
  store: new PostgresOperationStore({ database }),
  kinds: [counting, bulk, marking(database)],
  leaseMs,
  idleMs: 20,
  onEvent: (event) => {
    if (event.kind === 'claimed') console.log('claimed')
    if (event.kind === 'left') console.log(event.outcome)
    if (event.kind === 'trouble') console.error(String(event.error))
  },
})
process.on('SIGTERM', () => void runner.stop())
// Whoever started it may be gone: nothing may be left running.
process.stdin.resume().on('end', () => process.exit(0))
await runner.done
await database.close()
process.exit()
