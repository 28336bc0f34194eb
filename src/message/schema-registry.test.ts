import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { decodeMessage } from './decode-message.ts'
import { event } from './event.ts'
import type { LogRecord } from './port.ts'
import { readEnvelope } from './read-envelope.ts'
import { type FramedCodec, readSchemaRegistryFrame, schemaRegistryFraming } from './schema-registry.ts'

/** As Confluent's serialisers write: magic byte, schema id, then what the format makes. */
const framed = (schemaId: number, bytes: Buffer): Buffer => Buffer.concat([Buffer.from([0, 0, 0, schemaId >> 8, schemaId & 255]), bytes])

const json = framed(12, Buffer.from('{"orderId":"o-1","total":42}'))
/** {orderId: string, total: double}: the length in zigzag, the text, eight bytes of double, the lowest first. */
const avro = framed(258, Buffer.concat([Buffer.from([6]), Buffer.from('o-1'), Buffer.from('0000000000004540', 'hex')]))
/** The first message type of its file is one zero byte; {1: "o-1", 2: 42}. */
const protobuf = framed(7, Buffer.concat([Buffer.from([0]), Buffer.from('0a036f2d31102a', 'hex')]))
/** The second type nested in the first one: their number, then both, all in zigzag. */
const nestedProtobuf = framed(7, Buffer.concat([Buffer.from([4, 0, 2]), Buffer.from('0a036f2d31102a', 'hex')]))

const record = (value: Buffer, headers: LogRecord['headers'] = []): LogRecord => ({
  topic: 'orders',
  partition: 0,
  offset: 5,
  timestamp: 1_000,
  key: Buffer.from('o-1'),
  value,
  headers: [['ce_type', 'Placed'], ...headers],
})

const unused = { encode: (): never => expect.fail('nothing is written here') }

function placed(codec?: Partial<FramedCodec>) {
  const schema = z.object({ orderId: z.string(), total: z.number() })
  const framing = codec === undefined ? {} : { codec: schemaRegistryFraming({ ...unused, decode: () => null, ...codec }) }
  return event('Placed', { aggregate: 'order', key: ({ orderId }) => orderId, schema, ...framing })
}

const decode = async (value: Buffer, codec?: Partial<FramedCodec>, headers?: LogRecord['headers']) =>
  (await decodeMessage(readEnvelope(record(value, headers)), placed(codec))).data

describe('a message framed for a schema registry', () => {
  test.each([
    ['JSON Schema', json, 12, '{"orderId":"o-1","total":42}'],
    ['Avro', avro, 258, '\u0006o-1\0\0\0\0\0\0E@'],
    ['Protobuf, with its message indexes', protobuf, 7, '\0\n\u0003o-1\u0010*'],
    ['nested Protobuf, with its message indexes', nestedProtobuf, 7, '\u0004\0\u0002\n\u0003o-1\u0010*'],
  ])('is handed to the codec as it came: %s', async (_, value, schemaId, behind) => {
    const seen: unknown[] = []
    const data = { orderId: 'o-1', total: 42 }
    const codec = { decode: (id: number, bytes: Buffer) => (seen.push([id, bytes.toString('latin1')]), data) }
    expect(await decode(value, codec)).toEqual(data)
    expect(seen).toEqual([[schemaId, behind]])
  })

  test.each([
    ['that says nothing', []],
    ['that says JSON', [['content-type', 'application/json']]],
    ['that says Avro', [['content-type', 'avro/binary']]],
    ['that says a CloudEvent', [['content-type', 'application/cloudevents+json']]],
  ] as [string, LogRecord['headers']][])(
    'is undecodable without the codec, and the error says what it is, in a record %s',
    async (_, headers) => {
      await expect(decode(avro, undefined, headers)).rejects.toMatchObject({
        code: 'MESSAGE_UNDECODABLE',
        message:
          'Expected JSON, got bytes framed for a schema registry (schema id 258). Give the event the codec schemaRegistryFraming(…).',
        details: { schemaId: 258 },
      })
    },
  )

  test('is recognised by its first byte and its length alone', () => {
    expect(readSchemaRegistryFrame(Buffer.from([0, 0xff, 0xff, 0xff, 0xff]))).toEqual({ schemaId: 0xffffffff, bytes: Buffer.alloc(0) })
    for (const other of [Buffer.alloc(4), Buffer.from('{"a":0}'), Buffer.from([1, 0, 0, 0, 1, 2])])
      expect(readSchemaRegistryFrame(other)).toBeNull()
  })

  test('has its schema fetched once, for however many messages at once, and is then decoded without waiting', async () => {
    const asked: number[] = []
    const prepare = async (schemaId: number): Promise<void> => void asked.push(schemaId)
    const definition = placed({ prepare, decode: (_, bytes) => JSON.parse(bytes.toString()) as unknown })
    const one = () => decodeMessage(readEnvelope(record(json)), definition)
    await Promise.all([one(), one()])
    expect(one()).toMatchObject({ data: { total: 42 } })
    expect(asked).toEqual([12])
  })

  test('waits while the registry is away: the error is retryable, and the next try asks again', async () => {
    let away = true
    const prepare = () => (away ? Promise.reject(new Error('503')) : Promise.resolve())
    const definition = placed({ prepare, decode: (_, bytes) => JSON.parse(bytes.toString()) as unknown })
    const one = async () => decodeMessage(readEnvelope(record(json)), definition)
    await expect(one()).rejects.toMatchObject({ code: 'SCHEMA_UNAVAILABLE', retryable: true, details: { schemaId: 12 } })
    away = false
    expect(await one()).toMatchObject({ data: { total: 42 } })
  })

  test('of a schema that the registry does not have is undecodable', async () => {
    await expect(decode(json, { prepare: async () => false })).rejects.toMatchObject({
      code: 'MESSAGE_UNDECODABLE',
      message: 'Expected a schema that the registry has, got schema id 12.',
    })
  })
})
