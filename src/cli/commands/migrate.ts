import { type MigrationSet, migrations } from '../../drivers/postgres/migrations/compiled.ts'
import { grants } from '../../drivers/postgres/migrations/grants.ts'
import { migrate } from '../../drivers/postgres/migrations/migrate.ts'
import { migrationSql } from '../../drivers/postgres/migrations/migration-sql.ts'
import { type Command, type CommandContext, type CommandResult, UsageError } from '../command.ts'
import { schemaOf, withDatabase } from '../connect.ts'
import { databaseFlags } from '../flags.ts'

export const migrateCommand: Command = {
  name: 'migrate',
  summary: "Make or update Tidemark's tables; safe to run twice and by two processes at once",
  example: 'tidemark migrate --url postgres://localhost/shop',
  flags: {
    ...databaseFlags,
    set: { type: 'string', value: 'SET', help: "service: a service's own tables (default); log: those of the Postgres broker; all" },
    sql: { type: 'boolean', help: 'Print the SQL of an empty database and the rights each role needs; connect to nothing' },
    grants: { type: 'boolean', help: 'Print only the rights each role needs; connect to nothing' },
  },
  async run(context) {
    const schema = schemaOf(context)
    const sets = setsOf(context)
    if (context.flags.sql === true) return printed({ sql: migrationSql({ sets, schema }) })
    if (context.flags.grants === true) return printed({ sql: sets.flatMap((set) => grants(set, schema)).join('\n') })
    return withDatabase(context, async (database) => {
      const reports = []
      for (const set of sets) reports.push({ set, ...(await migrate(database, { set, schema })), known: migrations[set].length })
      return { json: { schema, sets: reports }, text: reports.map(line).join('\n') }
    })
  },
}

function setsOf({ flags }: CommandContext): readonly MigrationSet[] {
  const { set = flags.sql === true || flags.grants === true ? 'all' : 'service' } = flags
  if (set === 'all') return ['service', 'log']
  if (set === 'service' || set === 'log') return [set]
  throw new UsageError(`--set takes service, log or all; got ${JSON.stringify(set)}.`)
}

function printed(json: { readonly sql: string }): CommandResult {
  return { json, text: json.sql }
}

function line({ set, applied, version }: { readonly set: string; readonly applied: readonly number[]; readonly version: number }): string {
  return applied.length === 0
    ? `${set}: at version ${version}, nothing to do`
    : `${set}: applied ${applied.join(', ')}, now at version ${version}`
}
