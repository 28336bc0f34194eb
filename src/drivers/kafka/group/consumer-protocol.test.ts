import { expect, test } from 'vitest'
import { TidemarkError } from '../../../errors.ts'
import { decodeAssignment, decodeSubscription, encodeAssignment, encodeSubscription } from './consumer-protocol.ts'

const subscription = {
  topics: ['orders', 'zürich'],
  owned: [
    { topic: 'orders', partition: 0 },
    { topic: 'orders', partition: 7 },
    { topic: 'zürich', partition: 1 },
  ],
  generation: 12,
}

test('a subscription is written as Kafka writes version 3: topics, no user data, owned partitions, generation, no rack', () => {
  const bytes = encodeSubscription({ topics: ['t'], owned: [{ topic: 't', partition: 2 }], generation: 5 })
  expect(bytes.toString('hex')).toBe(
    [
      ...['0003', '00000001', '0001', '74', 'ffffffff'],
      ...['00000001', '0001', '74', '00000001', '00000002'],
      ...['00000005', 'ffff'],
    ].join(''),
  )
})

test('an assignment is written as Kafka writes it', () => {
  const bytes = encodeAssignment([
    { topic: 't', partition: 1 },
    { topic: 't', partition: 0 },
  ])
  expect(bytes.toString('hex')).toBe(['0003', '00000001', '0001', '74', '00000002', '00000000', '00000001', 'ffffffff'].join(''))
})

test('what was written is read', () => {
  expect(decodeSubscription(encodeSubscription(subscription))).toEqual(subscription)
  expect(decodeAssignment(encodeAssignment(subscription.owned))).toEqual(subscription.owned)
  expect(decodeAssignment(Buffer.alloc(0))).toEqual([])
})

test('subscriptions of older clients, which name fewer things, are read', () => {
  const topics = '000000010001' + '74' + '00000003' + 'abcdef'
  expect(decodeSubscription(Buffer.from(`0000${topics}`, 'hex'))).toEqual({ topics: ['t'], owned: [], generation: -1 })
  expect(decodeSubscription(Buffer.from(`0001${topics}00000001000174` + '0000000100000004', 'hex'))).toEqual({
    topics: ['t'],
    owned: [{ topic: 't', partition: 4 }],
    generation: -1,
  })
})

test('what a newer version adds behind is passed over', () => {
  const bytes = Buffer.concat([encodeSubscription(subscription), Buffer.from('more')])
  bytes.writeInt16BE(9)
  expect(decodeSubscription(bytes)).toEqual(subscription)
})

test('bytes that are something else are refused, wherever they end', () => {
  const whole = encodeSubscription(subscription)
  // The last two bytes are the rack, which is not read.
  for (let length = 0; length < whole.length - 2; length++) {
    expect(() => decodeSubscription(whole.subarray(0, length))).toThrow(TidemarkError)
  }
  expect(() => decodeAssignment(Buffer.from('00037fffffff', 'hex'))).toThrow(TidemarkError)
})
