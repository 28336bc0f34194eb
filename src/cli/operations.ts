import { redriveKind } from '../dead-letter/index.ts'
import { PostgresDatabase } from '../drivers/postgres/database.ts'
import { PostgresDeadLetterStore } from '../drivers/postgres/postgres-dead-letter-store.ts'
import { PostgresInboxStore } from '../drivers/postgres/postgres-inbox-store.ts'
import { PostgresOperationStore } from '../drivers/postgres/postgres-operation-store.ts'
import { defaultSchema, quotedSchema } from '../drivers/postgres/migrations/schema-name.ts'
import { LogEraser } from '../drivers/postgres/log/log-eraser.ts'
import { postgresErasableStores } from '../drivers/postgres/postgres-erasable-stores.ts'
import { Audit, type OperationKind, type OperationStore, Operations, eraseKind } from '../operation/index.ts'
import type { EventDefinition } from '../message/event.ts'
import { type CommandContext, UsageError } from './command.ts'
import { schemaOf, withDatabase } from './connect.ts'
import { namedLog } from './relay-broker.ts'

/** The desk of a service's operations, as the command line opens it. */
export interface OperationDesk {
  readonly database: PostgresDatabase
  readonly schema: string
  readonly store: OperationStore
  readonly kinds: readonly OperationKind[]
  readonly audit: Audit
  readonly operations: Operations
}

/** Kinds that the command line knows to work on. */
function operationKinds(
  database: PostgresDatabase,
  schema: string,
  definitions: readonly EventDefinition[],
  log: LogToErase,
): readonly OperationKind[] {
  const store = (): Promise<PostgresDeadLetterStore> => Promise.resolve(new PostgresDeadLetterStore({ database, schema }))
  const horizon = { inbox: () => Promise.resolve(new PostgresInboxStore({ database, schema })) }
  const stores = postgresErasableStores({ database, schema, ...(log.eraser === null ? {} : { log: log.eraser }) })
  const erase = eraseKind({ stores, remaining: [...log.remaining, ...alwaysRemaining], origin: 'cli' })
  return [redriveKind({ store, definitions: () => definitions, horizon }), erase]
}

/** Runs `work` on the operations of the database that the flags name. `definitions`: of the events that are consumed, if they are known. */
export function withOperations<T>(
  context: CommandContext,
  work: (desk: OperationDesk) => Promise<T>,
  definitions: readonly EventDefinition[] = [],
): Promise<T> {
  return withLog(context, (log) =>
    withDatabase(
      context,
      (database) => {
        const schema = schemaOf(context)
        const store = new PostgresOperationStore({ database, schema })
        const kinds = operationKinds(database, schema, definitions, log)
        const audit = new Audit({ store, origin: 'cli' })
        return work({ database, schema, store, kinds, audit, operations: new Operations({ store, kinds, audit }) })
      },
      // The step under way on some of them, the lease and the watching on others.
      8,
    ),
  )
}

const alwaysRemaining: readonly string[] = [
  'Responses to HTTP requests that are kept for an Idempotency-Key name no message: they go when their time (24 hours, unless the service set another) is over.',
  'Retry topics and topics of dead letters with names of their own are not found by the name of the topic: name them with --topics.',
  'The inbox keeps the ids of handled messages, and nothing else of them; without them repeats would be handled again.',
  'The key itself stays where its messages stood, with their ids and times.',
  'Texts that people and handlers wrote beside the messages stay: reasons in the audit log, which nobody can change, and the names of steps in the ledger of outside calls.',
  'Every other service that handles these messages has a database of its own: erase there, too.',
  'Backups and replicas, and what handlers wrote, are out of reach.',
]

/** The log, where it can be erased in, and what is to be said where it cannot. */
interface LogToErase {
  readonly eraser: LogEraser | null
  readonly remaining: readonly string[]
}

/** Opens the log that `--broker` or `BROKER_URL` names. */
async function withLog<T>(context: CommandContext, work: (log: LogToErase) => Promise<T>): Promise<T> {
  const named = namedLog(context)
  if (named === null) return work({ eraser: null, remaining: [logRemains] })
  if ('kafka' in named) return work({ eraser: null, remaining: [kafkaRemains] })
  const { 'broker-schema': given } = context.flags
  const schema = typeof given === 'string' ? given : defaultSchema
  const database = new PostgresDatabase({ connectionString: named.connectionString, maxConnections: 2 })
  try {
    await requireLog(database, schema)
    return await work({ eraser: new LogEraser({ database, schema }), remaining: [] })
  } finally {
    await database.close()
  }
}

async function requireLog(database: PostgresDatabase, schema: string): Promise<void> {
  const [row] = await database.query<{ found: boolean }>('select to_regclass($1) is not null as found', [
    `${quotedSchema(schema)}.log_batch`,
  ])
  if (row?.found === true) return
  throw new UsageError(
    `--broker (or BROKER_URL): the database has no log of Tidemark in the schema "${schema}". Name the database and the schema (--broker-schema) that postgresBroker(…) was given.`,
  )
}

const logRemains = 'The log of the broker was not looked into: pass --broker URL, or set BROKER_URL.'
const kafkaRemains =
  "Kafka was not asked, since nothing can be erased there. It keeps what was sent: until the topic's retention has passed, or, where the topic is compacted, until a record with the key and without a value follows and the log is cleaned."
