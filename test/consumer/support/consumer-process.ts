/**
 * A consumer in a process of its own, to be killed and frozen: `consumer-process.ts <settings as JSON>`. Prints what happens to its partitions,
 * and, on every line it is sent, how far it is.
 *
 * @module
 */
import { createInterface } from 'node:readline'
import { subscribe } from 'node:diagnostics_channel'
import { onMessage, runConsumer } from '../../../src/consumer/index.ts'
import { PostgresDatabase } from '../../../src/drivers/postgres/database.ts'
import { PostgresBroker } from '../../../src/drivers/postgres/postgres-broker.ts'
import { PostgresConsumerStore } from '../../../src/drivers/postgres/postgres-consumer-store.ts'
import { Counted, failsAtFirst, insertEffect } from './counted.ts'
import type { ConsumerProcessSettings } from './start-consumer.ts'

const settings = JSON.parse(process.argv[2]!) as ConsumerProcessSettings
const database = new PostgresDatabase({ connectionString: settings.url, maxConnections: 6 })
const broker = new PostgresBroker({ connectionString: settings.log, maxConnections: 6 })

const handler = onMessage(Counted, async ({ id, data }, { tx, attempt }) => {
  if (data.key === 'bad' && data.n === 2 && settings.isDeadly === true) process.kill(process.pid, 'SIGKILL')
  if (data.key === 'bad' && data.n === 2) throw new Error('poison')
  await tx.query(insertEffect, [id, data.key, data.n])
  if (failsAtFirst(data) && attempt === 1) throw new Error('not yet')
})

let goOn: () => void = () => undefined
const told = new Promise<void>((resolve) => (goOn = resolve))
const waiting = onMessage(Counted, async ({ id, data }, { tx }) => {
  await tx.query('insert into once (id) values ($1)', [id])
  console.log('inserted')
  await told
  await tx.query(insertEffect, [id, data.key, data.n])
})

subscribe('tidemark:consumer:ownership', (event) => console.log((event as { what: string }).what))

const consumer = runConsumer({
  group: 'test',
  broker,
  store: new PostgresConsumerStore({ database, standstillMs: settings.standstillMs ?? 2_000 }),
  handlers: [settings.waits === true ? waiting : handler],
  retry: { baseDelayMs: 1, maxAttempts: 2 },
  batch: { maxMessages: 10 },
  idleAdvanceMs: 30,
  drainMs: 2_000,
  lockTimeoutMs: 300,
  lanes: settings.lanes ?? 2,
  sessionTimeoutMs: settings.sessionTimeoutMs ?? 1_500,
  ...(settings.retryLeaseMs === undefined ? {} : { retryLeaseMs: settings.retryLeaseMs, retryPollMs: 20 }),
})

// An end of the input says that whoever started it is gone: nothing may be left running.
const commands = createInterface({ input: process.stdin }).on('close', () => process.exit(0))
commands.on('line', (line) => {
  if (line === 'stop') void consumer.stop()
  else if (line === 'go on') goOn()
  else if (line.startsWith('lanes ')) consumer.changeLanes(Number(line.slice(6)))
  else console.log(`status ${JSON.stringify(consumer.status())}`)
})
await consumer.done.catch((error: unknown) => {
  console.error(String(error))
  process.exitCode = 3
})
await Promise.all([database.close(), broker.close()])
process.exit()
