import { redriveKind } from '../dead-letter/index.ts'
import type { PostgresDatabase } from '../drivers/postgres/database.ts'
import { PostgresDeadLetterStore } from '../drivers/postgres/postgres-dead-letter-store.ts'
import { PostgresInboxStore } from '../drivers/postgres/postgres-inbox-store.ts'
import { PostgresOperationStore } from '../drivers/postgres/postgres-operation-store.ts'
import { Audit, type Asked, type OperationKind, type OperationStore, Operations } from '../operation/index.ts'
import type { EventDefinition } from '../message/event.ts'
import type { CommandContext } from './command.ts'
import { schemaOf, withDatabase } from './connect.ts'

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
function operationKinds(database: PostgresDatabase, schema: string, definitions: readonly EventDefinition[]): readonly OperationKind[] {
  const store = (): Promise<PostgresDeadLetterStore> => Promise.resolve(new PostgresDeadLetterStore({ database, schema }))
  const horizon = { inbox: () => Promise.resolve(new PostgresInboxStore({ database, schema })) }
  return [redriveKind({ store, definitions: () => definitions, horizon })]
}

/** Runs `work` on the operations of the database that the flags name. `definitions`: of the events that are consumed, if they are known. */
export function withOperations<T>(
  context: CommandContext,
  work: (desk: OperationDesk) => Promise<T>,
  definitions: readonly EventDefinition[] = [],
): Promise<T> {
  return withDatabase(
    context,
    (database) => {
      const schema = schemaOf(context)
      const store = new PostgresOperationStore({ database, schema })
      const kinds = operationKinds(database, schema, definitions)
      const audit = new Audit({ store, origin: 'cli' })
      return work({ database, schema, store, kinds, audit, operations: new Operations({ store, kinds, audit }) })
    },
    // The step under way on some of them, the lease and the watching on others.
    8,
  )
}

/** Who runs this, and why. Roles are for whoever has a directory of them; on the command line the database's own rights decide. */
export function askedBy({ flags, io }: CommandContext): Asked {
  const { reason, actor = io.user } = flags
  return { actor: { id: String(actor), roles: [] }, ...(typeof reason === 'string' ? { reason } : {}) }
}
