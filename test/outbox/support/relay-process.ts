/**
 * A relay in a process of its own, to be killed and frozen: `relay-process.ts <settings as JSON>`. Prints one line per event of interest.
 *
 * @module
 */
import { kafka } from '../../../src/drivers/kafka/index.ts'
import { PostgresDatabase } from '../../../src/drivers/postgres/database.ts'
import { PostgresOutboxStore } from '../../../src/drivers/postgres/postgres-outbox-store.ts'
import { runRelay } from '../../../src/outbox/index.ts'
import type { RelayProcessSettings } from './start-relay.ts'
import { WireRecorder } from './wire-recorder.ts'

const settings = JSON.parse(process.argv[2]!) as RelayProcessSettings
const database = new PostgresDatabase({ connectionString: settings.url, maxConnections: 4 })
const wire = new PostgresDatabase({ connectionString: settings.url, maxConnections: 2 })
const broker = settings.kafka === undefined ? new WireRecorder(wire, { fences: settings.fences }) : kafka(settings.kafka)
const { streams = 1, retention = {}, published = 'keep' } = settings
const relay = runRelay({
  store: new PostgresOutboxStore({ database, streams, retention, published }),
  broker,
  stream: settings.stream ?? 0,
  pageSize: settings.pageSize ?? 20,
  leaseMs: settings.leaseMs ?? 400,
  idleMs: 10,
  maintain: settings.retention !== undefined,
  onEvent: (event) => {
    if (event.kind === 'taken-over' || event.kind === 'standing-by' || event.kind === 'fenced') console.log(event.kind)
    if (event.kind === 'failed') console.error(String(event.error))
  },
})
process.on('SIGTERM', () => void relay.stop())
// Whoever started it may be gone: nothing may be left running.
process.stdin.resume().on('end', () => process.exit(0))
await relay.done.catch((error: unknown) => {
  console.error(String(error))
  process.exitCode = 3
})
await Promise.all([broker.close(), database.close(), wire.close()])
process.exit()
