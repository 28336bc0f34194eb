/** Saves an order and publishes its event in one transaction: `publish-process.ts <connection string>`. */
import { PostgresDatabase } from '../../../src/drivers/postgres/database.ts'
import { append } from '../../../src/drivers/postgres/queries/outbox.ts'
import { uuidv7 } from '../../../src/internal/uuid.ts'

const database = new PostgresDatabase({ connectionString: process.argv[2]! })
await database.transaction(async (tx) => {
  await tx.query(`insert into orders values ('o-1')`)
  await append(tx, [{ id: uuidv7(), aggregateType: 'order', aggregateId: 'o-1', type: 'Placed', payload: Buffer.from('{}'), headers: {} }])
})
await database.close()
