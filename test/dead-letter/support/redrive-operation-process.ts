/** Works on redrives: `redrive-operation-process.ts <connection string>`. */
import { PostgresDatabase } from '../../../src/drivers/postgres/database.ts'
import { PostgresDeadLetterStore, PostgresOperationStore } from '../../../src/drivers/postgres/index.ts'
import { redriveKind } from '../../../src/dead-letter/index.ts'
import { runOperations } from '../../../src/operation/index.ts'

const database = new PostgresDatabase({ connectionString: process.argv[2]!, maxConnections: 8 })
const runner = runOperations({
  store: new PostgresOperationStore({ database }),
  kinds: [redriveKind({ store: async () => new PostgresDeadLetterStore({ database }) })],
  leaseMs: 500,
  idleMs: 20,
  onEvent: (event) => {
    if (event.kind === 'trouble') console.error(String(event.error))
  },
})
process.on('SIGTERM', () => void runner.stop())
// Whoever started it may be gone: nothing may be left running.
process.stdin.resume().on('end', () => process.exit(0))
await runner.done
await database.close()
process.exit()
