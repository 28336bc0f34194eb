import type { MigrationSet } from './compiled.ts'
import { quotedSchema } from './schema-name.ts'

/**
 * Who works with the tables. Making and dropping partitions of the outbox is for the owner of the table alone; a relay without that right sends
 * and reports what it could not do.
 */
type Role = 'publisher' | 'relay' | 'consumer' | 'operator' | 'broker'

/** What it takes to run operations, and to start and stop them. */
const operations = [
  'select, insert, update, delete on {schema}.operation',
  'select, insert, update, delete on {schema}.operation_item',
  'usage on sequence {schema}.operation_lease',
  // Nobody changes or removes a line.
  'select, insert on {schema}.audit_log',
]

/** What it takes to look at dead letters, to change them, and to give them back. */
const letters = [
  'select, update on {schema}.dead_letter',
  'select, insert on {schema}.dead_letter_edit',
  'select, insert on {schema}.dead_letter_event',
  'select, update on {schema}.consumer_position',
  'select, insert, update, delete on {schema}.parked_key',
  'select, insert, update, delete on {schema}.parked_msg',
  'select on {schema}.consumer_contact',
  'select, insert, update on {schema}.consumer_hold',
  // A redrive asks what the group still remembers.
  'select on {schema}.inbox',
  'select on {schema}.inbox_rotation',
]

/** What it takes to erase the content of a key's messages. */
const erasing = [
  'select, update (payload, headers) on {schema}.outbox',
  'select on {schema}.relay',
  'select on {schema}.relay_held',
  'select on {schema}.relay_discarded',
  'execute on function {schema}.outbox_shard(text, text, int)',
  'update (value, headers, reason) on {schema}.dead_letter_edit',
  'update (text) on {schema}.dead_letter_event',
  'select, update (response, format, fingerprint) on {schema}.idempotency_key',
]

const tables: Readonly<Record<MigrationSet, Readonly<Partial<Record<Role, readonly string[]>>>>> = {
  service: {
    // Never xid or seq: the order of the outbox rests on them.
    publisher: [
      'insert (id, aggregatetype, aggregateid, type, payload, headers) on {schema}.outbox',
      'execute on function {schema}.outbox_stripe(text, text)',
      'execute on function {schema}.outbox_append(uuid, text, text, text, bytea, text, boolean)',
    ],
    relay: [
      'select, delete on {schema}.outbox',
      'select, insert, update on {schema}.relay',
      'select on {schema}.source',
      'select, insert, update, delete on {schema}.relay_parked',
      'select, insert, update, delete on {schema}.relay_held',
      'select, delete on {schema}.relay_skip',
      'select, insert on {schema}.relay_topic',
      'select, insert, delete on {schema}.relay_tick',
      'select on {schema}.outbox_part',
      'execute on function {schema}.outbox_shard(text, text, int)',
    ],
    consumer: [
      'select, insert, update, delete on {schema}.consumer_position',
      'select, insert on {schema}.inbox',
      'truncate on {schema}.inbox_0, {schema}.inbox_1, {schema}.inbox_2, {schema}.inbox_3',
      'select, update on {schema}.inbox_rotation',
      'select, insert, update, delete on {schema}.parked_key',
      'select, insert, update, delete on {schema}.parked_msg',
      'usage on sequence {schema}.parked_lease',
      'select, insert, update on {schema}.dead_letter',
      'select, insert on {schema}.dead_letter_edit',
      'select, insert on {schema}.dead_letter_event',
      'select, insert, update on {schema}.consumer_contact',
      'select, insert, update, delete on {schema}.dead_letter_alert',
      'select, update on {schema}.dead_letter_watch',
      'execute on function {schema}.consumer_require(boolean, text)',
      'select, insert, update, delete on {schema}.consumer_hold',
      'execute on function {schema}.consumer_held_since(text, text, int, int, bigint, bigint, bigint, int[])',
      ...operations,
      'select, insert, update, delete on {schema}.idempotency_key',
      'usage on sequence {schema}.idempotency_token',
    ],
    // Whoever runs the command line.
    operator: [...operations, ...letters, ...erasing],
  },
  log: {
    broker: [
      'select, insert, update, delete on {schema}.log_topic',
      'select, insert, update, delete on {schema}.log_head',
      'select, insert, update, delete on {schema}.log_stream',
      'select, insert, update, delete on {schema}.log_batch',
      'select, insert, update, delete on {schema}.log_group',
      'select, insert, update, delete on {schema}.log_member',
      'select, insert, update, delete on {schema}.log_assignment',
      'select, insert, update, delete on {schema}.log_group_offset',
      'select on {schema}.log_partitions',
    ],
  },
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
