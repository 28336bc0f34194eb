import { afterEach, expect, test } from 'vitest'
import { z } from 'zod'
import { handledMessage, relayed, testProducer } from '../../test/message/fixture.ts'
import { handling } from './ambient.ts'
import { createMessage } from './create-message.ts'
import type { MessageOptions } from './create-message.ts'
import { event } from './event.ts'
import type { OutboxMessage } from './outbox-message.ts'
import { readEnvelope } from './read-envelope.ts'
import { isTraceparent } from './trace-context.ts'

const trace = (digit: string) => `00-${digit.repeat(32)}-${digit.repeat(16)}-01`
const Step = event('Step', { aggregate: 'step', key: (name) => name, schema: z.string() })
const global = globalThis as { [key: symbol]: unknown }
const apiKey = Symbol.for('opentelemetry.js.api.1')

afterEach(() => {
  delete global[apiKey]
})

/** What OpenTelemetry's API leaves on the global object while a span is active. */
function activeSpan(digit: string, traceFlags = 1): void {
  const span = { spanContext: () => ({ traceId: digit.repeat(32), spanId: digit.repeat(16), traceFlags }) }
  const context = { getValue: (key: symbol) => (key === Symbol.for('OpenTelemetry Context Key SPAN') ? span : undefined) }
  global[apiKey] = { version: '1.9.0', context: { active: () => context } }
}

function stored(options?: MessageOptions): OutboxMessage {
  return createMessage(Step, 'a', options, testProducer()) as OutboxMessage
}

test('the option comes first, then the active span, then the message being handled', () => {
  activeSpan('b')
  const handled = handledMessage({ traceparent: trace('c') })
  handling(handled, () => {
    expect(stored({ traceparent: trace('a') }).headers['traceparent']).toBe(trace('a'))
    expect(stored().headers['traceparent']).toBe(trace('b'))
    delete global[apiKey]
    expect(stored().headers['traceparent']).toBe(trace('c'))
  })
  expect(stored().headers).not.toHaveProperty('traceparent')
})

test('the flags of the span are kept', () => {
  activeSpan('b', 0)
  expect(stored().headers['traceparent']).toBe(trace('b').replace(/01$/, '00'))
})

test('a span that is none, and an API of another shape, are passed over', () => {
  activeSpan('0')
  expect(stored().headers).not.toHaveProperty('traceparent')
  global[apiKey] = { context: {} }
  expect(stored().headers).not.toHaveProperty('traceparent')
  global[apiKey] = 'something'
  expect(stored().headers).not.toHaveProperty('traceparent')
})

test('the trace goes out as a plain header and as the CloudEvents attribute, and comes back', () => {
  const record = relayed(stored({ traceparent: trace('a') }))
  const sent = Object.fromEntries(record.headers.map(([name, value]) => [name, String(value)]))
  expect(sent).toMatchObject({ traceparent: trace('a'), ce_traceparent: trace('a') })
  expect(readEnvelope(record).traceparent).toBe(trace('a'))
})

test.each([
  ['the wrong version', trace('a').replace(/^00/, '01')],
  ['upper case', trace('a').toUpperCase()],
  ['a zero trace id', `00-${'0'.repeat(32)}-${'a'.repeat(16)}-01`],
  ['a zero span id', `00-${'a'.repeat(32)}-${'0'.repeat(16)}-01`],
  ['something behind', `${trace('a')}-x`],
  ['nothing', ''],
])('%s is no traceparent, and is not taken from a foreign record', (_, text) => {
  expect(isTraceparent(text)).toBe(false)
  const record = relayed(stored())
  expect(readEnvelope({ ...record, headers: [...record.headers, ['traceparent', text]] }).traceparent).toBeUndefined()
})
