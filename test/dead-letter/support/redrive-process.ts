/** Redrives one letter: `redrive-process.ts <connection string> <id>`. */
import { PostgresDatabase } from '../../../src/drivers/postgres/database.ts'
import { PostgresDeadLetterStore } from '../../../src/drivers/postgres/index.ts'

const database = new PostgresDatabase({ connectionString: process.argv[2]! })
await new PostgresDeadLetterStore({ database }).redrive([{ id: Number(process.argv[3]) }], { actor: 'a process' })
await database.close()
