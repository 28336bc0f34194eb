import { execFile } from 'node:child_process'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { startConnect } from '../../servers/connect.ts'
import type { Connect } from '../../servers/connect.ts'
import type { Server } from '../harness/server.ts'
import type { BenchBroker } from './broker.ts'

export interface DebeziumSettings {
  /** Heap of the Connect worker in MiB. Kafka's own script gives it 2,048. */
  readonly heapMb: number
  /** On top of what `tidemark cdc debezium-config` prints. */
  readonly config: Readonly<Record<string, string>>
}

/** An outbox with a replication slot, from which a connector will relay what is written from now on. */
export interface DebeziumOutbox {
  readonly name: string
  readonly slot: string
  readonly config: Readonly<Record<string, string>>
  /** Topics of the connector's own, to be there before it starts: brokers of the bench make none by themselves. */
  readonly topics: readonly string[]
}

const command = fileURLToPath(new URL('../../bin/tidemark.js', import.meta.url))
const role = 'debezium'

/** What `tidemark cdc debezium-config` prints for this database. */
export async function debeziumOutbox(database: string): Promise<DebeziumOutbox & { readonly sql: string }> {
  const word = new URL(database).pathname.slice(1)
  const flags = [
    '--url',
    database,
    '--name',
    word,
    '--topic-prefix',
    word,
    '--slot',
    word,
    '--user',
    role,
    '--snapshot',
    'no_data',
    '--json',
  ]
  const { stdout } = await promisify(execFile)(process.execPath, [command, 'cdc', 'debezium-config', ...flags])
  const { connector, sql } = JSON.parse(stdout) as { connector: { config: Readonly<Record<string, string>> }; sql: string }
  return { name: word, slot: word, config: connector.config, topics: [`__debezium-heartbeat.${word}`], sql }
}

/** Runs the SQL that goes with it, and makes the slot: every row that is written afterwards will be relayed. */
export async function makeSlot(
  server: Server,
  database: string,
  { slot, sql }: { readonly slot: string; readonly sql: string },
): Promise<void> {
  await server.query(
    database,
    `do $$ begin if not exists (select from pg_roles where rolname = '${role}') then create role ${role} login replication; end if; end $$`,
  )
  await server.query(database, sql)
  await server.query(database, `select pg_create_logical_replication_slot($1, 'pgoutput')`, [slot])
}

/** Once the connector has let go of it. A database with a slot cannot be dropped. */
export async function dropSlot(server: Server, database: string, slot: string): Promise<void> {
  const find = (): Promise<{ active: boolean }[]> =>
    server.query(database, 'select active from pg_replication_slots where slot_name = $1', [slot])
  for (let found = await find(); found.length > 0; found = await find()) {
    if (found[0]!.active) await delay(50)
    else await server.query(database, 'select pg_drop_replication_slot($1)', [slot])
  }
}

/** A worker without connectors, in which the references of the printed config can be resolved. */
export function startWorker(broker: BenchBroker, { heapMb }: DebeziumSettings): Promise<Connect> {
  return startConnect({
    kafka: { brokers: broker.addresses },
    heapMb,
    speed: 'full',
    properties: {
      'config.providers': 'env',
      'config.providers.env.class': 'org.apache.kafka.common.config.provider.EnvVarConfigProvider',
    },
    // The server of the bench asks nobody for a password.
    environment: { ...process.env, DATABASE_PASSWORD: 'none' },
  })
}
