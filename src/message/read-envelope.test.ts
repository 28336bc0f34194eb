import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { coordinate, logRecord, onTheWire, relayed, testProducer } from '../../test/message/fixture.ts'
import { createMessage } from './create-message.ts'
import type { MessageOptions } from './create-message.ts'
import { decodeMessage } from './decode-message.ts'
import { event } from './event.ts'
import type { Message } from './message.ts'
import type { OutboxMessage } from './outbox-message.ts'
import type { Header, LogRecord } from './port.ts'
import { readEnvelope } from './read-envelope.ts'
import { recordHeaders } from './record-headers.ts'

const OrderPlaced = event('OrderPlaced', {
  aggregate: 'order',
  key: (order) => order.orderId,
  schema: z.object({ orderId: z.string(), total: z.number() }),
})
const order = { orderId: 'o-1', total: 42 }

function stored(options?: MessageOptions): OutboxMessage {
  return createMessage(OrderPlaced, order, options, testProducer()) as OutboxMessage
}

function decoded(record: LogRecord): Message<{ orderId: string; total: number }> {
  return decodeMessage(readEnvelope(record), OrderPlaced) as Message<{ orderId: string; total: number }>
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value))
}

describe('our own message', () => {
  const options: MessageOptions = {
    headers: { tenant: 'blue', größe: '✓' },
    subject: 'invoice/1',
    sequenceNumber: 12,
    aggregateVersion: 3,
    correlationId: 'story-1',
    causationId: 'cause-1',
    traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
  }

  test('goes out as a CloudEvent in binary mode with the id of Debezium router and the coordinate', () => {
    expect(recordHeaders(stored(options), coordinate)).toEqual([
      ['id', '019b7c00-0000-7000-8000-000000000001'],
      ['ce_specversion', '1.0'],
      ['ce_id', '019b7c00-0000-7000-8000-000000000001'],
      ['ce_type', 'OrderPlaced'],
      ['ce_partitionkey', 'o-1'],
      ['ce_source', '/shop'],
      ['ce_time', '2026-01-02T03:04:05.678Z'],
      ['ce_correlationid', 'story-1'],
      ['ce_schemaversion', '1'],
      ['ce_causationid', 'cause-1'],
      ['ce_subject', 'invoice/1'],
      ['ce_sequence', '0000000000000012'],
      ['ce_aggregateversion', '3'],
      ['ce_traceparent', '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'],
      ['traceparent', '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'],
      ['tenant', 'blue'],
      ['größe', '✓'],
      ['content-type', 'application/json'],
      ['tidemark-coordinate', 'k3j4h5.1/2/0/17/1234'],
    ])
  })

  test('comes back as it was published', () => {
    expect(decoded(relayed(stored(options)))).toEqual({
      id: '019b7c00-0000-7000-8000-000000000001',
      type: 'OrderPlaced',
      source: '/shop',
      subject: 'invoice/1',
      time: new Date('2026-01-02T03:04:05.678Z'),
      key: 'o-1',
      data: order,
      schemaVersion: 1,
      correlationId: 'story-1',
      causationId: 'cause-1',
      traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
      headers: { tenant: 'blue', größe: '✓' },
      sequenceNumber: 12,
      aggregateVersion: 3,
      coordinate,
      topic: 'outbox.event.order',
      partition: expect.any(Number),
      offset: 42,
    })
  })

  test('comes back the same when the log hands out headers as text', () => {
    const record = relayed(stored(options))
    const asText = { ...record, headers: record.headers.map(([name, value]): Header => [name, String(value)]) }
    expect(decoded(asText)).toEqual(decoded(record))
  })

  test('has no coordinate in simple mode', () => {
    const message = decoded(relayed(stored(), null))
    expect(message).not.toHaveProperty('coordinate')
    expect(message).not.toHaveProperty('subject')
    expect(message.headers).toEqual({})
  })

  test('keeps a stored header that plain SQL wrote as a number', () => {
    const message = stored()
    const headers = recordHeaders({ ...message, headers: { ...message.headers, n: 1 as never } }, null)
    expect(headers).toContainEqual(['n', '1'])
  })
})

describe('a message that Debezium relayed', () => {
  const message = stored({ headers: { tenant: 'blue' }, subject: 's', sequenceNumber: 5 })
  const routed = (headers: readonly Header[]): LogRecord => ({ ...relayed(message), headers: onTheWire(headers) })

  test('is the same message, with the same identity, when the column headers is placed as one header', () => {
    const record = routed([
      ['id', message.id],
      ['ce_type', message.type],
      ['tidemark-headers', JSON.stringify(message.headers)],
    ])
    expect(readEnvelope(record).identity).toBe(readEnvelope(relayed(message)).identity)
    expect(decoded(record)).toEqual(decoded(relayed(message, null)))
  })

  test('is read likewise when a JSON header converter quoted id and column', () => {
    const record = routed([
      ['id', `"${message.id}"`],
      ['ce_type', message.type],
      ['tidemark-headers', JSON.stringify(JSON.stringify(message.headers))],
    ])
    expect(decoded(record)).toEqual(decoded(relayed(message, null)))
  })

  test.each(['eventType', 'type'])('takes its type from the header %s when the router was told to place it there', (name) => {
    const envelope = readEnvelope(
      routed([
        ['id', message.id],
        [name, 'OrderPlaced'],
      ]),
    )
    expect(envelope).toMatchObject({
      type: 'OrderPlaced',
      id: message.id,
      source: 'outbox.event.order',
      identityOrigin: 'router',
      coordinate: null,
    })
    expect(envelope.headers).toEqual({ [name]: 'OrderPlaced' })
  })

  test('has a type of null when nothing places it', () => {
    expect(readEnvelope(routed([['id', message.id]]))).toMatchObject({ type: null, identity: `outbox.event.order ${message.id}` })
  })

  test('is undecodable when that column is no JSON object, and still says who it is', () => {
    for (const column of ['{', '[]', '1', '"x"', '']) {
      const envelope = readEnvelope(
        routed([
          ['id', message.id],
          ['ce_type', 'OrderPlaced'],
          ['tidemark-headers', column],
        ]),
      )
      expect(envelope).toMatchObject({ id: message.id, type: 'OrderPlaced', undecodable: { code: 'MESSAGE_UNDECODABLE' } })
      expect(() => decodeMessage(envelope, OrderPlaced)).toThrow(expect.objectContaining({ code: 'MESSAGE_UNDECODABLE' }))
    }
  })
})

describe('a structured CloudEvent', () => {
  const attributes = {
    specversion: '1.0',
    id: 'A-1',
    source: '/elsewhere',
    type: 'OrderPlaced',
    time: '2026-05-06T07:08:09.123456789Z',
    subject: 's',
    correlationid: 'c-1',
    causationid: 'p-1',
    sequence: '0007',
    tenant: 'blue',
    attempt: 3,
  }
  const structured = (more: object, contentType = 'application/cloudevents+json; charset=UTF-8'): LogRecord =>
    logRecord({
      value: json({ ...attributes, ...more }),
      key: Buffer.from('k'),
      headers: onTheWire([
        ['content-type', contentType],
        ['hop', '2'],
      ]),
    })

  test('is read with its attributes, extensions as headers', () => {
    expect(decoded(structured({ datacontenttype: 'application/json', data: order }))).toMatchObject({
      id: 'A-1',
      type: 'OrderPlaced',
      source: '/elsewhere',
      subject: 's',
      time: new Date('2026-05-06T07:08:09.123Z'),
      key: 'k',
      data: order,
      correlationId: 'c-1',
      causationId: 'p-1',
      sequenceNumber: 7,
      headers: { ce_tenant: 'blue', ce_attempt: '3', hop: '2' },
    })
  })

  test('has the same identity as in binary mode', () => {
    const binary = logRecord({
      headers: onTheWire([
        ['ce_specversion', '1.0'],
        ['ce_id', 'A-1'],
        ['ce_source', '/elsewhere'],
        ['ce_type', 'OrderPlaced'],
      ]),
    })
    expect(readEnvelope(structured({ data: order })).identity).toBe(readEnvelope(binary).identity)
  })

  test('matches its content type whatever its case', () => {
    expect(decoded(structured({ data: order }, 'Application/CloudEvents+JSON')).data).toEqual(order)
  })

  test('may carry its data as base64', () => {
    const message = decoded(structured({ datacontenttype: 'application/json', data_base64: json(order).toString('base64') }))
    expect(message.data).toEqual(order)
  })

  test('may carry text that is not JSON, which its codec gets as bytes', () => {
    const envelope = readEnvelope(structured({ datacontenttype: 'text/xml', data: '<order/>' }))
    expect(envelope).toMatchObject({ contentType: 'text/xml', parsed: undefined, body: Buffer.from('<order/>') })
  })

  test('with a number for an id that JSON rounds is undecodable', () => {
    expect(readEnvelope(structured({ id: 7 })).id).toBe('7')
    expect(readEnvelope(structured({ id: 2 ** 53 })).undecodable).toMatchObject({ code: 'MESSAGE_UNDECODABLE' })
  })

  test('without datacontenttype says nothing of the type of its data', () => {
    expect(readEnvelope(structured({ data_base64: 'MQ==' })).contentType).toBeNull()
  })

  test('without data has null for data', () => {
    expect(readEnvelope(structured({})).parsed).toEqual({ data: null })
  })

  test('wins over headers beside it', () => {
    const record = structured({ data: order })
    const headers = onTheWire([
      ['ce_id', 'other'],
      ['ce_type', 'Other'],
      ['tidemark-coordinate', 'e/1/0/2/3'],
    ])
    expect(readEnvelope({ ...record, headers: [...record.headers, ...headers] })).toMatchObject({
      id: 'A-1',
      type: 'OrderPlaced',
      coordinate: { tick: 2 },
    })
  })

  test.each([
    ['base64 that is none', structured({ data_base64: '%%%' })],
    ['base64 that is no text', structured({ data_base64: 7 })],
  ])('is undecodable with %s, and still says what it is', (_, record) => {
    expect(readEnvelope(record)).toMatchObject({
      id: 'A-1',
      type: 'OrderPlaced',
      undecodable: { code: 'MESSAGE_UNDECODABLE' },
      body: record.value,
    })
  })

  test.each([
    ['another format', structured({}, 'application/cloudevents+avro')],
    ['a batch', structured({}, 'application/cloudevents-batch+json')],
    ['no JSON', { ...structured({}), value: Buffer.from('<') }],
    ['a list', { ...structured({}), value: Buffer.from('[]') }],
    ['no value', { ...structured({}), value: null }],
  ])('is undecodable as %s', (_, record) => {
    expect(readEnvelope(record)).toMatchObject({ type: null, identityOrigin: 'position', undecodable: { code: 'MESSAGE_UNDECODABLE' } })
  })
})

describe('an envelope inside the value', () => {
  const body = {
    eventId: 'e-1',
    eventType: 'OrderPlaced',
    payload: order,
    occurredAt: '2026-05-06T07:08:09Z',
    sequenceNumber: 4,
    aggregateVersion: 2,
  }

  test('is read when no header names a type', () => {
    const record = logRecord({ value: json(body) })
    expect(readEnvelope(record)).toMatchObject({ identity: 'orders e-1', identityOrigin: 'body' })
    expect(decoded(record)).toMatchObject({
      id: 'e-1',
      type: 'OrderPlaced',
      data: order,
      time: new Date('2026-05-06T07:08:09Z'),
      sequenceNumber: 4,
      aggregateVersion: 2,
    })
  })

  test('may begin with a byte order mark', () => {
    expect(readEnvelope(logRecord({ value: Buffer.from(`\ufeff ${JSON.stringify(body)}`) }))).toMatchObject({
      id: 'e-1',
      type: 'OrderPlaced',
    })
  })

  test('may have a number for an id, but none that JSON rounds, where two would become one', () => {
    const numbered = (id: string) => logRecord({ value: Buffer.from(`{"eventType":"OrderPlaced","eventId":${id},"payload":1}`) })
    expect(readEnvelope(numbered('7'))).toMatchObject({ id: '7', identityOrigin: 'body', undecodable: undefined })
    expect(readEnvelope(numbered('9007199254740993'))).toMatchObject({
      type: 'OrderPlaced',
      identityOrigin: 'position',
      undecodable: { code: 'MESSAGE_UNDECODABLE' },
    })
    const fromText = (record: LogRecord) => /"eventId":(\d+)/.exec(String(record.value))?.[1] ?? null
    expect(readEnvelope(numbered('9007199254740993'), { idempotencyId: fromText })).toMatchObject({
      id: '9007199254740993',
      undecodable: undefined,
    })
  })

  test('whose id is neither text nor number is known by its position', () => {
    for (const eventId of [{ $oid: 'x' }, true, null, ['x']]) {
      expect(readEnvelope(logRecord({ value: json({ ...body, eventId }) }))).toMatchObject({
        type: 'OrderPlaced',
        identityOrigin: 'position',
      })
    }
  })

  test('may name its type "type" beside an eventId', () => {
    expect(readEnvelope(logRecord({ value: json({ eventId: 'e-1', type: 'A', payload: 1 }) }))).toMatchObject({
      type: 'A',
      parsed: { data: 1 },
    })
  })

  test('is data like any other when a header names the type', () => {
    const record = logRecord({ value: json(body), headers: onTheWire([['ce_type', 'Wrapped']]) })
    expect(readEnvelope(record)).toMatchObject({ type: 'Wrapped', parsed: undefined, body: record.value })
  })

  test('takes the id of Debezium router before the one inside', () => {
    expect(readEnvelope(logRecord({ value: json(body), headers: onTheWire([['id', 'r-1']]) }))).toMatchObject({
      id: 'r-1',
      type: 'OrderPlaced',
    })
  })
})

describe('a foreign record without an envelope', () => {
  test('is identified by its position, and decoded by whoever knows the topic', () => {
    const record = logRecord({ value: json(order), key: Buffer.from('k') })
    expect(readEnvelope(record)).toMatchObject({
      id: 'orders-3-42',
      identity: 'orders orders-3-42',
      identityOrigin: 'position',
      type: null,
      source: 'orders',
      schemaVersion: 1,
      coordinate: null,
      undecodable: undefined,
    })
    expect(decoded(record)).toMatchObject({
      type: 'OrderPlaced',
      data: order,
      time: new Date(record.timestamp),
      correlationId: 'orders-3-42',
    })
  })

  test('is identified by a header or a function when told so', () => {
    const record = logRecord({ value: json(order), headers: onTheWire([['request-id', 'q-1']]) })
    expect(readEnvelope(record, { idempotencyId: 'request-id' })).toMatchObject({ identity: 'orders q-1', identityOrigin: 'option' })
    expect(readEnvelope(record, { idempotencyId: ({ offset }) => `n-${offset}` })).toMatchObject({ identity: 'orders n-42' })
  })

  test('falls back to its position when header or function have nothing', () => {
    expect(readEnvelope(logRecord(), { idempotencyId: 'request-id' }).identityOrigin).toBe('position')
    expect(readEnvelope(logRecord(), { idempotencyId: () => null }).identityOrigin).toBe('position')
  })

  test('is undecodable when that function throws', () => {
    const idempotencyId = () => {
      throw new Error('boom')
    }
    expect(readEnvelope(logRecord(), { idempotencyId }).undecodable).toMatchObject({ code: 'MESSAGE_UNDECODABLE' })
  })

  test('falls back to its position when they have the empty text', () => {
    const record = logRecord({ headers: onTheWire([['request-id', '']]) })
    expect(readEnvelope(record, { idempotencyId: 'request-id' }).identityOrigin).toBe('position')
    expect(readEnvelope(record, { idempotencyId: () => '' }).identityOrigin).toBe('position')
  })

  test('may be identified by a whole number; anything else that is no text makes it undecodable', () => {
    const by = (id: unknown) => readEnvelope(logRecord(), { idempotencyId: () => id as string })
    expect(by(42)).toMatchObject({ id: '42', undecodable: undefined })
    for (const id of [2 ** 53, Number.NaN, 1.5, {}, true, Promise.resolve('x')]) {
      expect(by(id)).toMatchObject({ identityOrigin: 'position', undecodable: { code: 'MESSAGE_UNDECODABLE' } })
    }
  })

  test('keeps its own id before what the option says', () => {
    const ce = onTheWire([
      ['ce_id', 'c'],
      ['ce_source', '/s'],
      ['request-id', 'q'],
    ])
    expect(readEnvelope(logRecord({ headers: ce }), { idempotencyId: 'request-id' }).identity).toBe('/s c')
    expect(
      readEnvelope(
        logRecord({
          headers: onTheWire([
            ['id', 'r'],
            ['request-id', 'q'],
          ]),
        }),
        { idempotencyId: 'request-id' },
      ).identity,
    ).toBe('orders r')
  })
})

describe('headers', () => {
  test('that occur twice count with their last value', () => {
    const record = relayed(stored({ headers: { tenant: 'blue' } }))
    const twice = {
      ...record,
      headers: [
        ...record.headers,
        ...onTheWire([
          ['ce_id', 'second'],
          ['tenant', 'green'],
        ]),
      ],
    }
    expect(readEnvelope(twice)).toMatchObject({ id: 'second', headers: { tenant: 'green' } })
  })

  test('without a value are absent where they are ours, and empty where they are not', () => {
    const record = logRecord({
      headers: [
        ['ce_id', null],
        ['ce_type', Buffer.alloc(0)],
        ['own', null],
      ],
    })
    expect(readEnvelope(record)).toMatchObject({ id: 'orders-3-42', type: null, headers: { own: '' } })
  })

  test('that are no UTF-8 and identify are kept apart by their bytes', () => {
    const by = (name: string, bytes: readonly number[]) => readEnvelope(logRecord({ headers: [[name, Buffer.from(bytes)]] })).identity
    for (const name of ['id', 'ce_id', 'ce_source']) expect(by(name, [0xfe, 0x80])).not.toBe(by(name, [0xff, 0x80]))
    expect(by('id', [0xfe, 0x80])).toBe('orders hex:fe80')
    const optional = (byte: number) => logRecord({ headers: [['n', Buffer.from([0, byte])]] })
    expect(readEnvelope(optional(0x81), { idempotencyId: 'n' }).identity).not.toBe(
      readEnvelope(optional(0x82), { idempotencyId: 'n' }).identity,
    )
    // A replacement character that was sent as such is text.
    expect(readEnvelope(logRecord({ headers: [['id', Buffer.from('\ufffd')]] })).id).toBe('\ufffd')
  })

  test('may have any name', () => {
    const headers = readEnvelope(
      logRecord({
        headers: onTheWire([
          ['__proto__', 'a'],
          ['constructor', 'b'],
          ['', 'c'],
        ]),
      }),
    ).headers
    expect(Object.entries(headers)).toEqual([
      ['__proto__', 'a'],
      ['constructor', 'b'],
      ['', 'c'],
    ])
  })

  test('with NUL in an id lead to an identity that Postgres can store', () => {
    const envelope = readEnvelope(
      logRecord({
        headers: onTheWire([
          ['ce_id', 'a\0b'],
          ['ce_source', '/\0'],
          ['ce_type', 'T\0'],
        ]),
      }),
    )
    expect(envelope).toMatchObject({ id: 'a\u2400b', source: '/\u2400', type: 'T\u2400', identity: '/\u2400 a\u2400b' })
  })

  test.each(['0', '-1', '1.5', 'x', '99999999999999999'])('that name the schema version %j make the message undecodable', (version) => {
    const envelope = readEnvelope(
      logRecord({
        headers: onTheWire([
          ['ce_id', 'a'],
          ['ce_schemaversion', version],
        ]),
      }),
    )
    expect(envelope.undecodable).toMatchObject({ code: 'MESSAGE_UNDECODABLE' })
  })

  test('that are no time or no number are passed over', () => {
    const headers = onTheWire([
      ['ce_time', 'yesterday'],
      ['ce_sequence', 'x'],
      ['ce_aggregateversion', '-1'],
      ['tidemark-coordinate', 'x'],
    ])
    expect(readEnvelope(logRecord({ headers }))).toMatchObject({
      time: new Date(1_700_000_000_000),
      sequenceNumber: undefined,
      aggregateVersion: undefined,
      coordinate: null,
    })
  })
})

describe('whatever stands in a record', () => {
  const known = fc.constantFrom(
    ...[
      'id',
      'ce_id',
      'ce_source',
      'ce_type',
      'ce_time',
      'ce_subject',
      'ce_schemaversion',
      'ce_sequence',
      'ce_correlationid',
      'ce_traceparent',
    ],
    ...['content-type', 'tidemark-coordinate', 'tidemark-headers', 'traceparent', 'eventType', 'type'],
  )
  const telling = fc.constantFrom(
    'application/cloudevents+json',
    'application/json',
    '{}',
    '{"ce_source":"/s"}',
    '"',
    '1/2/3/4/5',
    '2026-01-01',
  )
  const bytes = fc.uint8Array({ maxLength: 60 }).map((array) => Buffer.from(array))
  const value = fc.option(
    fc.oneof(
      bytes,
      telling,
      fc.string(),
      fc.json().map((text) => Buffer.from(text)),
    ),
  )
  const body = fc.option(
    fc.oneof(
      bytes,
      fc.json().map((text) => Buffer.from(text)),
      fc
        .dictionary(
          known.map((name) => name.replace('ce_', '')),
          fc.jsonValue(),
        )
        .map(json),
    ),
  )
  const record = fc.record({
    topic: fc.string(),
    partition: fc.nat(),
    offset: fc.nat(),
    timestamp: fc.oneof(fc.nat(), fc.constant(-1)),
    key: fc.option(bytes),
    value: body,
    headers: fc.array(fc.tuple(fc.oneof(known, fc.string()), value)),
  })

  test('reading it never throws, and finds an identity', () => {
    fc.assert(
      fc.property(record, (foreign) => {
        const envelope = readEnvelope(foreign)
        for (const name of envelopeMembers) void envelope[name]
        expect(envelope.identity).toContain(envelope.id)
        expect(envelope.id).not.toBe('')
        expect(envelope.identity).not.toContain('\0')
      }),
      { numRuns: 2_000 },
    )
  })

  test('decoding it gives a message or one of three errors', async () => {
    const Anything = event('Anything', { aggregate: 'a', key: () => 'k', schema: z.unknown() })
    await fc.assert(
      fc.asyncProperty(record, async (foreign) => {
        const outcome = await Promise.resolve()
          .then(() => decodeMessage(readEnvelope(foreign), Anything))
          .then(
            () => 'message',
            (error: unknown) => (error as { code?: string }).code,
          )
        expect(['message', 'MESSAGE_UNDECODABLE', 'EVENT_INVALID', 'EVENT_UNKNOWN_VERSION']).toContain(outcome)
      }),
      { numRuns: 2_000 },
    )
  })

  const envelopeMembers = [
    'coordinate',
    'key',
    'subject',
    'time',
    'correlationId',
    'causationId',
    'traceparent',
    'headers',
    'sequenceNumber',
    'aggregateVersion',
    'contentType',
  ] as const
})

describe('whatever is published', () => {
  const Anything = event('Anything', { aggregate: 'a', key: () => 'unused', schema: z.unknown() })
  const text = fc.string({ unit: 'binary' }).filter((some) => !/[\0\p{Surrogate}]/u.test(some))
  const name = text.filter((some) => some !== '' && some !== '__proto__' && !/^(id$|content-type$|traceparent$|ce_|tidemark-)/.test(some))

  test('comes back: JSON data, keys and headers in any script', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.jsonValue(),
        text.filter((some) => some !== ''),
        fc.dictionary(name, text),
        async (data, key, headers) => {
          const message = await createMessage(Anything, data, { key, headers }, testProducer())
          const received = await decodeMessage(readEnvelope(relayed(message)), Anything)
          // -0 is 0 in JSON.
          expect(received.data).toEqual(JSON.parse(JSON.stringify(data)))
          expect(received.key).toBe(key)
          expect(received.headers).toEqual({ ...headers })
        },
      ),
      { numRuns: 500 },
    )
  })
})
