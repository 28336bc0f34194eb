/**
 * A process of a service that handles what others write, to be killed: `foreign-worker-process.ts <settings as JSON>`. See `start-foreign-worker.ts`.
 *
 * @module
 */
import { subscribe } from 'node:diagnostics_channel'
import { createInterface } from 'node:readline'
import { kafka } from '../../../src/drivers/kafka/index.ts'
import { postgres } from '../../../src/drivers/postgres/index.ts'
import type { LogRecord } from '../../../src/message/index.ts'
import { service } from '../../../src/service/index.ts'
import { isDeadly, isUnlucky, numbered } from './foreign-event.ts'
import type { ForeignWorkerSettings } from './start-foreign-worker.ts'

const { url, brokers, group, keyed, keyless } = JSON.parse(process.argv[2]!) as ForeignWorkerSettings
const broker = kafka({ brokers })

/** A program that sends its lines again gives each of them a new place in the log. */
function idempotencyId({ key, value }: LogRecord): string | null {
  if (key === null) return null
  const { n } = JSON.parse(String(value)) as { readonly n: number }
  return `${String(key)}/${n}`
}

const worker = service('foreign', {
  database: postgres({ connectionString: url, maxConnections: 8 }),
  broker,
  relay: false,
  group,
  consumer: {
    ...{ idempotencyId, retry: { maxAttempts: 3, baseDelayMs: 5 }, batch: { maxMessages: 200 } },
    ...{ idleAdvanceMs: 100, drainMs: 2_000, lockTimeoutMs: 500, sessionTimeoutMs: 1_500 },
  },
})

for (const topic of [keyed, keyless]) {
  worker.consume(numbered(topic), async ({ id, data: { key, n } }, { tx, attempt }) => {
    await tx.query('insert into effect (topic, id, key, n) values ($1, $2, $3, $4)', [topic, id, key, n])
    if (topic === keyed && isDeadly(key, n)) throw new Error('dead on purpose')
    if (isUnlucky(n) && attempt === 1) throw new Error('no luck')
  })
}

subscribe('tidemark:consumer:ownership', (event) => console.log((event as { what: string }).what))
await worker.start()
worker.done.catch((error: unknown) => {
  console.error(String(error))
  process.exit(3)
})

async function stop(): Promise<void> {
  await worker.stop()
  await broker.close()
  process.exit()
}

// An end of the input says that whoever started it is gone: nothing may be left running.
const commands = createInterface({ input: process.stdin }).on('close', () => process.exit(0))
commands.on('line', (line) => {
  if (line === 'stop') void stop()
})
