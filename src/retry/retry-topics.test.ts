import { expect, test } from 'vitest'
import { defaultRetryPolicy } from './retry-policy.ts'
import { type DeadLetterTopic, RetryTopics, type RetryTopicsOptions } from './retry-topics.ts'

function topics(
  retryTopics: RetryTopicsOptions | false = {},
  deadLetterTopic: DeadLetterTopic = true,
  sources = ['orders', 'stock'],
): RetryTopics {
  return new RetryTopics('billing', sources, { retryTopics, deadLetterTopic, retry: defaultRetryPolicy })
}

test('one topic for each pause of the policy, for each topic of the group, and one for the dead', () => {
  const all = topics()
  expect(all.all.filter(({ source }) => source === 'orders').map(({ name }) => name)).toEqual([
    'orders.billing.retry.1',
    'orders.billing.retry.2',
    'orders.billing.retry.3',
    'orders.billing.retry.4',
    'orders.billing.dlq',
  ])
  expect(all.topics).toHaveLength(8)
  expect(all.tier('stock.billing.retry.3')).toEqual({ source: 'stock', tier: 3, delayMs: 4_000 })
  expect(all.tier('stock')).toBeUndefined()
  expect(all.deadLetterTopic('stock')).toBe('stock.billing.dlq')
})

test('a message goes on to the next topic, and stays in the last one', () => {
  const all = topics({ delaysMs: [10, 100, 1_000] })
  const after = [1, 2, 3, 4, 99].map((attempts) => all.afterAttempts('orders', attempts).delayMs)
  expect(after).toEqual([10, 100, 1_000, 1_000, 1_000])
  expect(all.afterPause('orders', 50)).toEqual({ topic: 'orders.billing.retry.2', delayMs: 100 })
  expect(all.afterPause('orders', 9_999).delayMs).toBe(1_000)
})

test('copies of the dead alone', () => {
  const all = topics(false, ({ topic }) => `${topic}-dlt`)
  expect(all.areOn).toBe(false)
  expect(all.topics).toEqual([])
  expect(all.all).toEqual([
    { name: 'orders-dlt', source: 'orders' },
    { name: 'stock-dlt', source: 'stock' },
  ])
  expect(topics(false, false).all).toEqual([])
})

test.each<[string, RetryTopicsOptions, DeadLetterTopic]>([
  ['no pause', { delaysMs: [] }, true],
  ['pauses that fall', { delaysMs: [2, 1] }, true],
  ['a pause that is none', { delaysMs: [Number.NaN] }, true],
  ['a pause without end', { delaysMs: [Number.POSITIVE_INFINITY] }, true],
  ['a name that Kafka does not take', { topicName: () => 'a/b' }, true],
  ['one name for two topics', { topicName: ({ tier }) => `retry-${tier}` }, true],
  ['the name of a topic that is read', { topicName: ({ tier }) => (tier === 1 ? 'stock' : `x${tier}`) }, true],
  ['one topic for the dead of two', {}, () => 'dlq'],
])('%s is refused', (_name, retryTopics, deadLetterTopic) => {
  expect(() => topics(retryTopics, deadLetterTopic)).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }))
})
