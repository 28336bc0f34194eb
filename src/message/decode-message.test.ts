import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { logRecord, onTheWire, receive, relayed, testProducer } from '../../test/message/fixture.ts'
import type { Codec } from './codec.ts'
import { createMessage } from './create-message.ts'
import { decodeMessage } from './decode-message.ts'
import { event } from './event.ts'
import type { Upcaster } from './event.ts'
import type { LogRecord } from './port.ts'
import { readEnvelope } from './read-envelope.ts'
import { schemaRegistryFraming } from './schema-registry.ts'

const secret = 'do-not-tell'
const Named = event('Named', { aggregate: 'named', key: (data) => data.name, schema: z.object({ name: z.string() }) })

function record(value: string | Buffer, headers: Readonly<Record<string, string>> = {}): LogRecord {
  return logRecord({
    value: Buffer.from(value),
    headers: onTheWire(Object.entries({ ce_id: 'm-1', ce_type: 'Named', ce_source: '/s', ...headers })),
  })
}

async function rejection(from: LogRecord, definition: Parameters<typeof decodeMessage>[1] = Named): Promise<Error & { code: string }> {
  return Promise.resolve()
    .then(() => decodeMessage(readEnvelope(from), definition))
    .then(
      () => expect.unreachable('it was decoded'),
      (error: unknown) => error as Error & { code: string },
    )
}

describe('bytes that cannot be decoded', () => {
  test.each([
    ['bytes that are not UTF-8', record(Buffer.concat([Buffer.from('{"name":"'), Buffer.from([0xff, 0xfe]), Buffer.from('"}')]))],
    ['text that is not JSON', record(`{"name":"${secret}`)],
    ['no bytes at all', record('')],
    ['a content type that is not JSON', record('<name/>', { 'content-type': 'text/xml' })],
    ['a schema registry frame', record(Buffer.from([0, 0, 0, 0, 7, 1, 2, 3]))],
  ])('are refused: %s', async (_, from) => {
    const error = await rejection(from)
    expect(error.code).toBe('MESSAGE_UNDECODABLE')
    expect(`${error.message} ${String(error.cause)}`).not.toContain(secret)
  })

  test('are not needed for a message of none: its data is null', async () => {
    const Gone = event('Gone', { aggregate: 'g', key: () => 'k', schema: z.null() })
    expect(await decodeMessage(readEnvelope({ ...record(''), value: null }), Gone)).toMatchObject({ data: null })
    expect(await rejection({ ...record(''), value: null })).toMatchObject({ code: 'EVENT_INVALID' })
  })
})

describe('JSON', () => {
  test.each(['application/json; charset=utf-8', 'APPLICATION/JSON', 'application/vnd.shop.order+json', 'text/json'])(
    'is read as %s',
    async (type) => {
      expect(await decodeMessage(readEnvelope(record('{"name":"a"}', { 'content-type': type })), Named)).toMatchObject({
        data: { name: 'a' },
      })
    },
  )

  test('may begin with a byte order mark', async () => {
    expect(await decodeMessage(readEnvelope(record('\ufeff{"name":"a"}')), Named)).toMatchObject({ data: { name: 'a' } })
  })
})

describe('data that does not satisfy the schema', () => {
  test('is refused with place and paths and nothing of the data', async () => {
    const error = await rejection(record(JSON.stringify({ name: { first: secret } })))
    expect(error).toMatchObject({ code: 'EVENT_INVALID', details: { topic: 'orders', partition: 3, offset: 42, paths: ['name'] } })
    expect(error.message).toContain('orders-3-42')
    expect(error.message).not.toContain(secret)
  })

  test('is refused by a schema that waits', async () => {
    const Slow = event('Slow', { aggregate: 's', key: () => 'k', schema: z.string().refine((text) => Promise.resolve(text !== 'no')) })
    expect(await rejection(record('"no"'), Slow)).toMatchObject({ code: 'EVENT_INVALID' })
    expect(await decodeMessage(readEnvelope(record('"yes"')), Slow)).toMatchObject({ data: 'yes' })
  })
})

describe('versions', () => {
  const schema = z.object({ first: z.string(), last: z.string(), title: z.string() })
  const upcasters: Readonly<Record<number, Upcaster>> = {
    1: (old) => {
      const [first, last] = (old as { name: string }).name.split(' ')
      return { first, last }
    },
    2: (old) => ({ ...(old as object), title: 'none' }),
  }
  const Person = event('Person', { aggregate: 'person', key: () => 'k', schema, version: 3, upcasters })
  const written = (version: string, data: unknown) => record(JSON.stringify(data), { ce_schemaversion: version })

  test('are brought to the present one step by step', async () => {
    expect(await decodeMessage(readEnvelope(written('1', { name: 'Ada Lovelace' })), Person)).toMatchObject({
      schemaVersion: 1,
      data: { first: 'Ada', last: 'Lovelace', title: 'none' },
    })
    expect(await decodeMessage(readEnvelope(written('2', { first: 'A', last: 'L' })), Person)).toMatchObject({
      schemaVersion: 2,
      data: { title: 'none' },
    })
  })

  test('of the present are left as they are, and stored with their number', async () => {
    const data = { first: 'A', last: 'L', title: 'Countess' }
    const stored = await createMessage(Person, data, undefined, testProducer())
    expect(stored.headers['ce_schemaversion']).toBe('3')
    expect(await receive(stored, Person)).toMatchObject({ schemaVersion: 3, data })
  })

  test('newer than the definition are refused as such', async () => {
    expect(await rejection(written('4', {}), Person)).toMatchObject({ code: 'EVENT_UNKNOWN_VERSION', details: { offset: 42 } })
  })

  test('older than the first upcaster cannot be decoded', async () => {
    const Gap = event('Person', { aggregate: 'person', key: () => 'k', schema, version: 3, upcasters: { 2: upcasters[2]! } })
    const error = await rejection(written('1', {}), Gap)
    expect(error).toMatchObject({ code: 'MESSAGE_UNDECODABLE' })
    expect(error.message).toContain('from version 1 to 2')
  })

  test('whose upcaster throws cannot be decoded', async () => {
    expect(await rejection(written('1', {}), Person)).toMatchObject({
      code: 'MESSAGE_UNDECODABLE',
      cause: expect.any(TypeError) as unknown,
    })
  })
})

describe('a codec', () => {
  const text: Codec = {
    contentType: 'text/plain',
    encode: (data) => Buffer.from(String(data)),
    decode: (bytes) => bytes.toString(),
  }

  test('writes the bytes and their type, and reads them', async () => {
    const Note = event('Note', { aggregate: 'note', key: () => 'k', schema: z.string(), codec: text })
    const stored = await createMessage(Note, 'hello', undefined, testProducer())
    expect(stored).toMatchObject({ payload: Buffer.from('hello'), headers: { 'content-type': 'text/plain' } })
    expect(relayed(stored).headers.filter(([name]) => name === 'content-type')).toEqual([['content-type', Buffer.from('text/plain')]])
    expect((await receive(stored, Note)).data).toBe('hello')
  })

  test('that fails, now or later, makes the publish refused and the message undecodable', async () => {
    const boom = () => {
      throw new Error('boom')
    }
    const later = () => Promise.reject(new Error('boom'))
    for (const fail of [boom, later]) {
      const Broken = event('Broken', {
        aggregate: 'b',
        key: () => 'k',
        schema: z.string(),
        codec: { contentType: 'x/y', encode: fail, decode: fail },
      })
      await expect(async () => createMessage(Broken, 'x', undefined, testProducer())).rejects.toMatchObject({ code: 'EVENT_INVALID' })
      expect(await rejection(record('x'), Broken)).toMatchObject({ code: 'MESSAGE_UNDECODABLE' })
    }
  })

  test('of a schema registry gets the number of the schema and the bytes behind the frame', async () => {
    const seen: number[] = []
    const framed = schemaRegistryFraming({
      encode: (data) => Promise.resolve({ schemaId: 70_000, bytes: Buffer.from(JSON.stringify(data)) }),
      decode: (schemaId, bytes) => {
        seen.push(schemaId)
        return Promise.resolve(JSON.parse(bytes.toString()) as unknown)
      },
    })
    const Registered = event('Registered', { aggregate: 'r', key: () => 'k', schema: z.object({ n: z.number() }), codec: framed })
    const stored = await createMessage(Registered, { n: 1 }, undefined, testProducer())
    expect(stored.payload.subarray(0, 5)).toEqual(Buffer.from([0, 0, 1, 0x11, 0x70]))
    expect((await receive(stored, Registered)).data).toEqual({ n: 1 })
    expect(seen).toEqual([70_000])
    expect(await rejection(record('{"n":1}'), Registered)).toMatchObject({ code: 'MESSAGE_UNDECODABLE' })
  })
})
