import type { MigrationSet } from './compiled.ts'
import { quotedSchema } from './schema-name.ts'

/** Who works with the tables. `relay_owner` also makes and drops partitions, which only the owner of a table may do. */
type Role = 'publisher' | 'relay' | 'consumer'

const tables: Readonly<Record<MigrationSet, Readonly<Partial<Record<Role, readonly string[]>>>>> = {
  service: {
    // Never xid or seq: the order of the outbox rests on them.
    publisher: [
      'insert (id, aggregatetype, aggregateid, type, payload, headers) on {schema}.outbox',
      'execute on function {schema}.outbox_stripe(text, text)',
    ],
    relay: [
      'select, delete on {schema}.outbox',
      'select, insert, update on {schema}.relay',
      'select on {schema}.source',
      'select, insert, update, delete on {schema}.relay_parked',
      'select, insert, delete on {schema}.relay_held',
      'select, delete on {schema}.relay_skip',
      'execute on function {schema}.outbox_shard(text, text, int)',
    ],
  },
  log: {},
}

/** The rights each role needs, one `grant` a line. */
export function grants(set: MigrationSet, schema: string): string[] {
  const quoted = quotedSchema(schema)
  return Object.entries(tables[set]).flatMap(([role, rights]) => [
    `grant usage on schema ${quoted} to ${role};`,
    `grant select on ${quoted}.migration to ${role};`,
    ...rights.map((right) => `grant ${right.replaceAll('{schema}', quoted)} to ${role};`),
  ])
}
