import { expect, test } from 'vitest'
import { onBatch } from '../../src/consumer/index.ts'
import { until } from '../support/until.ts'
import { Counted, consumerDatabase, countEffect, countedRecord, memoryTopic, placeInStream, sequence } from './support/consumer-database.ts'

const { consume, rows } = await consumerDatabase('throughput')

const inBatches = onBatch(Counted, async (messages, { tx }) => {
  await tx.query('insert into effect (id, key, n) select * from unnest($1::text[], $2::text[], $3::int[])', [
    messages.map(({ id }) => id),
    messages.map(({ data }) => data.key),
    messages.map(({ data }) => data.n),
  ])
})

// Speed is printed, never asserted: what is asserted is that it was reached with every effect there once.
test.each([
  ['a handler per message, told apart by coordinates', countEffect, true],
  ['a handler per message, told apart by the inbox', countEffect, false],
  ['a batch handler', inBatches, true],
] as const)('50,000 stored messages through %s take effect once', async (name, handler, coordinates) => {
  const count = 50_000
  const { broker, send } = await memoryTopic(4)
  const options = (n: number) => ({ partitions: 4, coordinate: coordinates ? placeInStream(n) : null })
  for (let from = 0; from < count; from += 5_000) await send(sequence(5_000, from).map((n) => countedRecord(`k${n}`, n, options(n))))
  await rows('truncate effect, tidemark.consumer_position, tidemark.inbox')
  const started = performance.now()
  await using consumer = consume(broker, [handler], { idleAdvanceMs: 1_000 })
  await until('all handled', () => consumer.status().counts.handled === count)
  const seconds = (performance.now() - started) / 1_000
  console.log(`${name}: ${Math.round(count / seconds).toLocaleString('en')} messages/s`)
  expect(await rows('select count(*)::int as all, count(distinct n)::int as different from effect')).toEqual([
    { all: count, different: count },
  ])
})
