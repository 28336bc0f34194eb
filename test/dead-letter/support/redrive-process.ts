/** Redrives one letter, or all of a consumer group, in a name: `redrive-process.ts <connection string> <id or group>`. */
import { PostgresDatabase } from '../../../src/drivers/postgres/database.ts'
import { DeadLetterManager } from '../../../src/dead-letter/index.ts'
import { PostgresDeadLetterStore, PostgresOperationStore } from '../../../src/drivers/postgres/index.ts'
import { Audit } from '../../../src/operation/index.ts'

const database = new PostgresDatabase({ connectionString: process.argv[2]! })
const store = new PostgresDeadLetterStore({ database })
const audit = new Audit({ store: new PostgresOperationStore({ database }) })
const manager = new DeadLetterManager({ store: async () => store, audit, actor: 'a process' })
const which = process.argv[3]!
await (/^\d+$/.test(which) ? manager.replay(Number(which)) : manager.replayAll({ groups: [which] }))
await database.close()
