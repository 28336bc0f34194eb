import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { afterEach, expect, test } from 'vitest'
import { onMessage } from '../../src/consumer/index.ts'
import { Counted, consumerDatabase, countedRecord, memoryTopic, sequence, settledAll } from './support/consumer-database.ts'

const { consume } = await consumerDatabase('telemetry')

const heard: { readonly channel: string; readonly fact: unknown }[] = []
const hear = (fact: unknown, channel: string | symbol): void => void heard.push({ channel: String(channel), fact })
const names = ['batch', 'retried', 'rollback', 'retry', 'dead-letter', 'ownership'].map((event) => `tidemark:consumer:${event}`)
for (const name of names) subscribe(name, hear)
afterEach(() => names.forEach((name) => unsubscribe(name, hear)))
const told = (event: string) => heard.filter(({ channel }) => channel === `tidemark:consumer:${event}`).map(({ fact }) => fact)

test('what becomes of messages is told on the diagnostics channels, each fact once', async () => {
  const { broker, send } = await memoryTopic(1)
  await send(sequence(6).map((n) => countedRecord('k', n)))
  const failing = onMessage(Counted, ({ data }) => {
    if (data.n === 3) throw new RangeError('3 is too many')
  })
  {
    await using consumer = consume(broker, [failing], { lanes: 1, deadLetter: 'skip' })
    await settledAll(consumer, broker)
  }
  const place = { group: 'test', topic: Counted.topic, partition: 0 }
  expect(told('dead-letter')).toEqual([{ ...place, offset: 3, policy: 'skip', errorClass: 'RangeError' }])
  expect(told('retry')).toMatchObject([1, 2, 3].map((attempt) => ({ ...place, offset: 3, attempt, errorClass: 'RangeError' })))
  expect(told('ownership')).toMatchObject([
    { ...place, what: 'taken' },
    { ...place, what: 'released' },
  ])
  const handled = [...told('batch'), ...told('retried')].map((fact) => (fact as { readonly handled: number }).handled)
  expect(handled.reduce((sum, count) => sum + count, 0)).toBe(5)
})
