import * as v from 'valibot'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { receive, relayed, testProducer } from '../../test/message/fixture.ts'
import { TidemarkError } from '../errors.ts'
import { createMessage } from './create-message.ts'
import type { MessageOptions } from './create-message.ts'
import { event } from './event.ts'
import type { OutboxMessage } from './outbox-message.ts'

const OrderPlaced = event('OrderPlaced', {
  aggregate: 'order',
  key: (order) => order.orderId,
  schema: z.object({ orderId: z.string(), total: z.number(), items: z.array(z.object({ price: z.number() })).optional() }),
})
const order = { orderId: 'o-1', total: 42 }

function create(options?: MessageOptions): OutboxMessage {
  return createMessage(OrderPlaced, order, options, testProducer()) as OutboxMessage
}

function thrownBy(fn: () => unknown): TidemarkError {
  try {
    fn()
  } catch (error) {
    if (TidemarkError.is(error)) return error
    throw error
  }
  throw new Error('expected it to throw')
}

describe('a stored message', () => {
  test('has the columns of Debezium router, and in its headers only what varies', () => {
    expect(create()).toEqual({
      id: '019b7c00-0000-7000-8000-000000000001',
      aggregateType: 'order',
      aggregateId: 'o-1',
      type: 'OrderPlaced',
      payload: Buffer.from('{"orderId":"o-1","total":42}'),
      headers: {
        ce_source: '/shop',
        ce_time: '2026-01-02T03:04:05.678Z',
        ce_correlationid: '019b7c00-0000-7000-8000-000000000001',
        ce_schemaversion: '1',
      },
    })
  })

  test('carries what the options say', () => {
    const message = create({
      time: new Date('1997-01-01T00:00:00Z'),
      key: 'customer-7',
      headers: { tenant: 'blue', größe: '✓' },
      subject: 'invoice/1',
      sequenceNumber: 12,
      aggregateVersion: 3,
      traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
    })
    expect(message.aggregateId).toBe('customer-7')
    expect(message.headers).toMatchObject({
      ce_time: '1997-01-01T00:00:00.000Z',
      ce_subject: 'invoice/1',
      ce_sequence: '0000000000000012',
      ce_aggregateversion: '3',
      traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
      tenant: 'blue',
      größe: '✓',
    })
  })

  test('is made without waiting when the schema does not wait', () => {
    expect(createMessage(OrderPlaced, order, undefined, testProducer())).not.toBeInstanceOf(Promise)
  })

  test('keeps the input of a schema that transforms, so that it can be read back through it', async () => {
    const schema = z.object({ id: z.string(), at: z.iso.datetime().transform((text) => new Date(text)) })
    const Dated = event('Dated', { aggregate: 'dated', key: (data) => data.id, schema })
    const stored = await createMessage(Dated, { id: 'd', at: '2026-05-06T07:08:09Z' }, undefined, testProducer())
    expect(stored.payload.toString()).toBe('{"id":"d","at":"2026-05-06T07:08:09Z"}')
    expect((await receive(stored, Dated)).data.at).toEqual(new Date('2026-05-06T07:08:09Z'))
  })

  test('goes to the topic of its event when that has its own', async () => {
    const Legacy = event('Legacy', { aggregate: 'order', topic: 'legacy.orders', key: (data) => data, schema: z.string() })
    const stored = await createMessage(Legacy, 'x', undefined, testProducer())
    expect(relayed(stored).topic).toBe('legacy.orders')
    expect(relayed(stored).headers.map(([name]) => name)).not.toContain('tidemark-topic')
  })
})

describe('data that does not satisfy its schema', () => {
  test('is refused with the paths of what is wrong and nothing of the data (zod)', () => {
    const secret = 'do-not-tell'
    const data = { orderId: 'o-1', total: secret, items: [{ price: 1 }, { price: secret }] } as never
    const error = thrownBy(() => createMessage(OrderPlaced, data, undefined, testProducer()))
    expect(error).toMatchObject({ code: 'EVENT_INVALID', retryable: false })
    expect(error.message).toContain('total, items[1].price')
    expect(error.details).toEqual({ type: 'OrderPlaced', paths: ['total', 'items[1].price'] })
    expect(JSON.stringify([error.message, error.details, String(error.cause)])).not.toContain(secret)
  })

  test('is refused likewise by a schema that quotes the data in its messages (valibot)', () => {
    const Counted = event('Counted', { aggregate: 'c', key: (data) => data.id, schema: v.object({ id: v.string(), n: v.number() }) })
    const secret = 'do-not-tell'
    const error = thrownBy(() => createMessage(Counted, { id: 'c', n: secret } as never, undefined, testProducer()))
    expect(error.details['paths']).toEqual(['n'])
    expect(JSON.stringify([error.message, error.details, String(error.cause)])).not.toContain(secret)
  })

  test('is refused at the root', () => {
    expect(thrownBy(() => createMessage(OrderPlaced, null as never, undefined, testProducer())).details['paths']).toEqual(['(root)'])
  })

  test('names the first twenty paths of many', () => {
    const data = { orderId: 'o-1', total: 1, items: Array.from({ length: 30 }, () => ({ price: 'x' })) } as never
    expect(thrownBy(() => createMessage(OrderPlaced, data, undefined, testProducer())).message).toContain('items[19].price and 10 more')
  })

  test('is refused by a schema that waits', async () => {
    const schema = z.object({ id: z.string().refine((id) => Promise.resolve(id !== 'taken')) })
    const Reserved = event('Reserved', { aggregate: 'r', key: (data) => data.id, schema })
    await expect(createMessage(Reserved, { id: 'taken' }, undefined, testProducer())).rejects.toMatchObject({
      code: 'EVENT_INVALID',
      details: { paths: ['id'] },
    })
    const stored = await createMessage(Reserved, { id: 'free' }, undefined, testProducer())
    expect((await receive(stored, Reserved)).data).toEqual({ id: 'free' })
  })

  test('is refused when the schema itself throws, now or later', async () => {
    const Throwing = (schema: () => unknown) =>
      event('T', {
        aggregate: 't',
        key: () => 'k',
        schema: { '~standard': { version: 1, vendor: 'test', validate: schema as () => { value: string } } },
      })
    const boom = () => {
      throw new Error('boom')
    }
    expect(thrownBy(() => createMessage(Throwing(boom), 'x', undefined, testProducer()))).toMatchObject({ code: 'EVENT_INVALID' })
    await expect(
      createMessage(
        Throwing(() => Promise.reject(new Error('boom'))),
        'x',
        undefined,
        testProducer(),
      ),
    ).rejects.toMatchObject({
      code: 'EVENT_INVALID',
    })
  })

  test.each([
    ['a number that JSON does not know', 1n],
    ['nothing', undefined],
    ['a function', () => 1],
  ])('is refused when it is %s', (_, data) => {
    const Anything = event('Anything', { aggregate: 'a', key: () => 'k', schema: z.unknown() })
    expect(thrownBy(() => createMessage(Anything, data, undefined, testProducer()))).toMatchObject({ code: 'EVENT_INVALID' })
  })
})

describe('options that cannot be', () => {
  const invalid: readonly (readonly [string, MessageOptions])[] = [
    ['an empty key', { key: '' }],
    ['a key with NUL', { key: 'a\0' }],
    ['a key with half a surrogate pair', { key: '\ud800' }],
    ['a key of 9,000 characters', { key: 'x'.repeat(9_000) }],
    ['an invalid time', { time: new Date(Number.NaN) }],
    ['a time beyond the year 9999', { time: new Date(8.64e15) }],
    ['a negative sequence number', { sequenceNumber: -1 }],
    ['a fraction of a version', { aggregateVersion: 0.5 }],
    ['an empty correlation', { correlationId: '' }],
    ['a traceparent of another form', { traceparent: '00-xyz' }],
    ['a header named like CloudEvents', { headers: { ce_id: 'x' } }],
    ['a header named id', { headers: { id: 'x' } }],
    ['a header named like ours', { headers: { 'tidemark-coordinate': 'x' } }],
    ['a header without a name', { headers: { '': 'x' } }],
    ['a header with NUL', { headers: { a: '\0' } }],
    ['a header that is no text', { headers: { a: 1 as never } }],
  ]

  test.each(invalid)('are refused: %s', (_, options) => {
    expect(thrownBy(() => create(options))).toMatchObject({ code: 'INPUT_INVALID' })
  })

  test('are refused: a definition whose key gives no text', () => {
    const Keyless = event('Keyless', { aggregate: 'k', key: (data) => data.id as string, schema: z.object({ id: z.string().optional() }) })
    expect(thrownBy(() => createMessage(Keyless, {}, undefined, testProducer()))).toMatchObject({ code: 'INPUT_INVALID' })
  })
})
