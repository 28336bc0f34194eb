import { type MigrationSet, migrations } from './compiled.ts'
import { grants } from './grants.ts'
import { bookkeeping, sqlOf } from './migrate.ts'
import { defaultSchema, quotedSchema } from './schema-name.ts'

/** What to print. */
export interface MigrationSqlOptions {
  /** @default both */
  readonly sets?: readonly MigrationSet[]
  /** @default 'tidemark' */
  readonly schema?: string
}

/**
 * Everything `migrate` would do on an empty database, as one script for `psql`, for teams whose migrations are run by somebody else. The
 * rights each role needs follow as comments. Not for a database that already has a part of it.
 */
export function migrationSql({ sets = ['service', 'log'], schema = defaultSchema }: MigrationSqlOptions = {}): string {
  const files = sets.flatMap((set) =>
    migrations[set].map((migration) => {
      const noted = `insert into ${quotedSchema(schema)}.migration (set, version, checksum) values ('${set}', ${migration.version}, '${migration.checksum}');`
      return `-- ${set} ${migration.version}\nbegin;\n${sqlOf(migration, schema)}\n${noted}\ncommit;\n`
    }),
  )
  const rights = sets.flatMap((set) => grants(set, schema)).map((line) => `-- ${line}\n`)
  return [bookkeeping(schema), ...files, '-- The least each role needs. Put your role in place of the name after "to".\n', ...rights].join(
    '\n',
  )
}
