import type { StandardSchemaV1 as Original } from '@standard-schema/spec'
import * as v from 'valibot'
import { describe, expect, expectTypeOf, test } from 'vitest'
import { z } from 'zod'
import { event } from './event.ts'
import type { EventData, EventDefinition, EventInput, EventOptions } from './event.ts'
import type { StandardSchemaV1 } from './standard-schema.ts'
import { isTopicName, topicOf } from './topic.ts'

const schema = z.object({ id: z.string() })
const options = { aggregate: 'order', key: (data: { id: string }) => data.id, schema } satisfies EventOptions<typeof schema>

/** As a program without types may give them. */
const untypedOptions = (changed: object): EventOptions<typeof schema> => Object.assign({}, options, changed)

describe('an event definition', () => {
  test('has version 1 and the topic of Debezium router unless told otherwise', () => {
    expect(event('OrderPlaced', options)).toMatchObject({
      type: 'OrderPlaced',
      aggregate: 'order',
      topic: 'outbox.event.order',
      version: 1,
    })
    expect(event('OrderPlaced', { ...options, topic: 'legacy.orders', version: 3 })).toMatchObject({ topic: 'legacy.orders', version: 3 })
  })

  test('takes its types from the schema, of any library', () => {
    const date = event('A', { ...options, schema: z.object({ id: z.string(), at: z.string().transform((text) => new Date(text)) }) })
    const count = event('B', { aggregate: 'b', key: (b) => b.id, schema: v.object({ id: v.string(), n: v.optional(v.number(), 1) }) })
    expectTypeOf<EventInput<typeof date>>().toEqualTypeOf<{ id: string; at: string }>()
    expectTypeOf<EventData<typeof date>>().toEqualTypeOf<{ id: string; at: Date }>()
    expectTypeOf<EventInput<typeof count>>().toEqualTypeOf<{ id: string; n?: number | undefined }>()
    expectTypeOf<EventData<typeof count>>().toEqualTypeOf<{ id: string; n: number }>()
    const list: readonly EventDefinition[] = [date, count]
    expect(list.map((definition) => definition.type)).toEqual(['A', 'B'])
  })

  test('takes what the original Standard Schema interface describes', () => {
    expectTypeOf<Original<string, number>>().toExtend<StandardSchemaV1<string, number>>()
    expectTypeOf<StandardSchemaV1<string, number>>().toExtend<Original<string, number>>()
  })

  test.each([
    ['an empty type', () => event('', options)],
    ['a type that no database can store', () => event('a\0b', options)],
    ['an aggregate that gives no topic name', () => event('A', { ...options, aggregate: 'an order' })],
    ['an empty topic', () => event('A', { ...options, topic: '' })],
    ['an aggregate too long for a topic', () => event('A', { ...options, aggregate: 'x'.repeat(240) })],
    ['a version of 0', () => event('A', { ...options, version: 0 })],
    ['a version that is no whole number', () => event('A', { ...options, version: 1.5 })],
    ['upcasters with a hole', () => event('A', { ...options, version: 4, upcasters: { 1: String, 3: String } })],
    ['upcasters that stop short', () => event('A', { ...options, version: 4, upcasters: { 1: String, 2: String } })],
    ['an upcaster beyond the version', () => event('A', { ...options, version: 2, upcasters: { 1: String, 2: String } })],
    ['an upcaster from version 0', () => event('A', { ...options, version: 2, upcasters: { 0: String, 1: String } })],
    // What a program without types may pass.
    ['a schema that is none', () => event('A', { ...options, schema: {} as StandardSchemaV1<{ id: string }> })],
    ['no key', () => event('A', untypedOptions({ key: undefined }))],
    ['a key that is a text', () => event('A', untypedOptions({ key: 'id' }))],
    ['no aggregate', () => event('A', untypedOptions({ aggregate: undefined }))],
    ['a codec that is none', () => event('A', untypedOptions({ codec: {} }))],
    ['an upcaster that is none', () => event('A', untypedOptions({ version: 2, upcasters: { 1: 'a' } }))],
  ])('is refused with %s', (_, define) => {
    expect(define).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }))
  })

  test('may begin its upcasters at a later version than the first', () => {
    expect(event('A', { ...options, version: 3, upcasters: { 2: String } }).upcasters).toHaveProperty('2')
  })
})

describe('topics', () => {
  test('keep the letter case of the aggregate type, as Debezium does by default', () => {
    expect(topicOf('Order')).toBe('outbox.event.Order')
  })

  test.each(['a', 'A.b_c-9', 'x'.repeat(249)])('%s is a name', (name) => expect(isTopicName(name)).toBe(true))
  test.each(['', '.', '..', 'a b', 'ä', 'a/b', 'x'.repeat(250)])('%j is none', (name) => expect(isTopicName(name)).toBe(false))
})
