/** Migrates once and prints what it applied: `migrate-process.ts <connection string>`. */
import { PostgresDatabase } from '../../src/drivers/postgres/database.ts'
import { migrate } from '../../src/drivers/postgres/migrations/migrate.ts'

const database = new PostgresDatabase({ connectionString: process.argv[2]! })
const { applied } = await migrate(database, { set: 'service' })
await database.close()
console.log(JSON.stringify(applied))
