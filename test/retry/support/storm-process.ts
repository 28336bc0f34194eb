/**
 * A consumer in a process of its own whose handler fails as the table `trouble` says, and now and then by itself: `storm-process.ts <settings as JSON>`.
 *
 * @module
 */
import { createInterface } from 'node:readline'
import { onMessage, runConsumer } from '../../../src/consumer/index.ts'
import { PostgresBroker } from '../../../src/drivers/postgres/postgres-broker.ts'
import { PostgresConsumerStore } from '../../../src/drivers/postgres/postgres-consumer-store.ts'
import { PostgresOutboxStore } from '../../../src/drivers/postgres/postgres-outbox-store.ts'
import { runRelay } from '../../../src/outbox/index.ts'
import { kafka } from '../../../src/drivers/kafka/index.ts'
import { PostgresDatabase } from '../../../src/drivers/postgres/database.ts'
import { RetryLater, TerminalError } from '../../../src/retry/index.ts'
import { countedOn, insertEffect } from '../../consumer/support/counted.ts'
import type { StormSettings } from './start-storm-consumer.ts'

const { url, kafka: brokers, topic, group, retryTopics } = JSON.parse(process.argv[2]!) as StormSettings
const database = new PostgresDatabase({ connectionString: url, maxConnections: 8 })
const broker = brokers === undefined ? new PostgresBroker({ connectionString: url, maxConnections: 4 }) : kafka({ brokers })

const handler = onMessage(countedOn(topic), async ({ id, data: { key, n } }, { tx }) => {
  const chance = Math.random()
  if (chance < 0.02) throw new Error('before anything was done')
  await tx.query(insertEffect, [id, key, n])
  const [trouble] = await tx.query<{ kind: string }>(`select kind from trouble where key = $1 or key = '*' limit 1`, [key])
  if (trouble?.kind === 'away') throw Object.assign(new Error('away'), { code: 'ECONNREFUSED' })
  if (trouble?.kind === 'bug') throw new TypeError('a bug')
  if (trouble?.kind === 'never') throw new TerminalError('never')
  if (trouble?.kind === 'later') throw new RetryLater(50)
  if (trouble?.kind === 'stuck') await new Promise(() => undefined)
  if (chance > 0.99) throw new Error('after the effect')
})

const consumer = runConsumer({
  group,
  broker,
  store: new PostgresConsumerStore({ database, standstillMs: 1_000 }),
  handlers: [handler],
  retry: { baseDelayMs: 20, maxDelayMs: 100, maxAttempts: 4 },
  breaker: { probeAfterMs: 50, maxProbeAfterMs: 200 },
  timeoutMs: 400,
  // With one transaction all keys that are due share it.
  retriers: Math.random() < 0.5 ? 1 : 4,
  retryPollMs: 50,
  retryLeaseMs: 1_000,
  batch: { maxMessages: 50 },
  idleAdvanceMs: 50,
  drainMs: 1_000,
  lockTimeoutMs: 300,
  lanes: 3,
  sessionTimeoutMs: brokers === undefined ? 1_500 : 6_000,
  ...(retryTopics ? { retryTopics: { delaysMs: [20, 60, 100] }, onPublished: () => relay?.wake() } : {}),
})
const relay = retryTopics ? runRelay({ store: new PostgresOutboxStore({ database }), broker, idleMs: 20, leaseMs: 1_000 }) : null

// An end of the input says that whoever started it is gone: nothing may be left running.
createInterface({ input: process.stdin })
  .on('close', () => process.exit(0))
  .on('line', () => void consumer.stop())
await consumer.done.catch((error: unknown) => {
  console.error(String(error))
  process.exitCode = 3
})
await relay?.stop()
await Promise.all([database.close(), broker.close()])
process.exit()
