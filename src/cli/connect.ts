import { PostgresDatabase } from '../drivers/postgres/database.ts'
import { defaultSchema, quotedSchema } from '../drivers/postgres/migrations/schema-name.ts'
import { type CommandContext, UsageError } from './command.ts'

/** The schema asked for. Throws `CONFIG_INVALID` for a name that Tidemark does not take. */
export function schemaOf({ flags }: CommandContext): string {
  const schema = typeof flags.schema === 'string' ? flags.schema : defaultSchema
  quotedSchema(schema)
  return schema
}

/** Runs `work` on the database of `--url` or `DATABASE_URL`, and closes it. */
export async function withDatabase<T>(
  context: CommandContext,
  work: (database: PostgresDatabase) => Promise<T>,
  maxConnections = 2,
): Promise<T> {
  const connectionString = context.flags.url ?? context.io.env.DATABASE_URL
  if (typeof connectionString !== 'string' || connectionString === '')
    throw new UsageError('No database: pass --url URL or set DATABASE_URL.')
  const database = new PostgresDatabase({ connectionString, maxConnections })
  try {
    return await work(database)
  } finally {
    await database.close()
  }
}

/** Asks for `--yes` before what cannot be undone. There is no prompt: a script and a person give the same command. */
export function requireYes({ flags }: CommandContext, what: string): void {
  if (flags.yes !== true) throw new UsageError(`${what} Pass --yes to do it, or --dry-run to only look.`)
}
