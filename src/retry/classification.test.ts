import { describe, expect, test } from 'vitest'
import fc from 'fast-check'
import { TidemarkError } from '../errors.ts'
import {
  BusinessRuleViolation,
  DeserializationError,
  RetryLater,
  TerminalError,
  ValidationError,
  classifications,
  classify,
  failureClasses,
  failureOf,
  fingerprintOf,
} from './index.ts'
import { ownFrame } from './own-frame.ts'

const withFields = (fields: object): Error => Object.assign(new Error('x'), fields)

describe('an error is classified by what it says of itself', () => {
  test.each([
    ['a lost connection to Postgres', withFields({ code: '08006', severity: 'FATAL' }), 'transient'],
    ['a deadlock', withFields({ code: '40P01', severity: 'ERROR' }), 'transient'],
    ['a violated constraint', withFields({ code: '23505', severity: 'ERROR' }), 'bug'],
    ['a full disk of Postgres', withFields({ code: '53100', severity: 'ERROR' }), 'transient'],
    ['a standby', withFields({ code: '25006', severity: 'ERROR' }), 'transient'],
    ['a refused connection', withFields({ code: 'ECONNREFUSED' }), 'transient'],
    ['a name that is not known now', withFields({ code: 'EAI_AGAIN' }), 'transient'],
    ['a time-out of fetch', new DOMException('late', 'TimeoutError'), 'transient'],
    ['fetch without a server', new TypeError('fetch failed', { cause: withFields({ code: 'ECONNREFUSED' }) }), 'transient'],
    ['several addresses tried', new AggregateError([withFields({ code: 'ECONNREFUSED' })], ''), 'transient'],
    ['503', withFields({ status: 503 }), 'transient'],
    ['429, as axios says it', withFields({ response: { status: 429 } }), 'transient'],
    ['422', withFields({ statusCode: 422 }), 'poison'],
    ['404', withFields({ status: 404 }), 'bug'],
    ['500', withFields({ status: 500 }), 'bug'],
    ['a leader that moves', withFields({ apiId: 'NOT_LEADER_OR_FOLLOWER' }), 'transient'],
    ['a record too large', withFields({ apiId: 'MESSAGE_TOO_LARGE' }), 'poison'],
    ['a fenced producer', withFields({ apiId: 'PRODUCER_FENCED' }), 'fenced'],
    ['a newer event', new TidemarkError('EVENT_UNKNOWN_VERSION', 'x'), 'incompatible'],
    ['bytes nobody reads', new TidemarkError('MESSAGE_UNDECODABLE', 'x'), 'poison'],
    ['a missing file', withFields({ code: 'ENOENT' }), 'bug'],
    ['a fault of the code', new TypeError('undefined is not a function'), 'bug'],
    ['a text', 'no', 'bug'],
    ['nothing', undefined, 'bug'],
    ['ValidationError', new ValidationError('x'), 'poison'],
    ['BusinessRuleViolation', new BusinessRuleViolation('x'), 'poison'],
    ['DeserializationError', new DeserializationError('x'), 'poison'],
    ['a subclass of TerminalError', new (class Gone extends TerminalError {})('x'), 'poison'],
    ['a cause that is terminal', new Error('wrapped', { cause: new TerminalError('x') }), 'poison'],
    ['RetryLater', new RetryLater(5), 'bug'],
  ] as const)('%s', (_, error, expected) => expect(classify(error)).toBe(expected))
})

test('every line of the table is reached by an error that says its code', () => {
  for (const { of, code, is } of classifications) {
    const exact = code.replace('*', '9999'.slice(0, Math.max(0, 6 - code.length)))
    const error =
      of === 'tidemark'
        ? new TidemarkError(code as 'BROKER_FENCED', 'x')
        : withFields(of === 'http' ? { status: Number(exact.slice(0, 3)) } : of === 'kafka' ? { apiId: exact } : { code: exact })
    expect([of, code, classify(error)]).toEqual([of, code, is])
  }
})

test('whatever is thrown, it has a class and words, and nothing is thrown', () => {
  fc.assert(
    fc.property(fc.anything(), (thrown) => {
      expect(failureClasses).toContain(classify(thrown))
      expect(failureOf(thrown).reason).toEqual(expect.any(String))
    }),
  )
  const endless: { cause?: unknown } = new Error('x')
  endless.cause = endless
  const hostile = new Proxy(
    {},
    {
      get: () => {
        throw new Error('no')
      },
      has: () => true,
    },
  )
  for (const thrown of [endless, hostile]) expect(failureClasses).toContain(classify(thrown))
})

test('the name of a class is cut, as long as a program may make it, and that of a code with it', () => {
  const named = Object.assign(new Error('x'), { name: 'n'.repeat(3_000_000) })
  expect(failureOf(named).errorClass).toBe('n'.repeat(200))
  expect(failureOf(Object.assign(new Error('x'), { code: 'c'.repeat(1_000) })).errorClass).toBe(`Error ${'c'.repeat(194)}`)
})

test('letters that died alike have the same fingerprint, whatever the line number', () => {
  const of = (errorClass: string, frame: string, type = 'A', group = 'g') => fingerprintOf({ errorClass, frame }, type, group)
  const one = of('TypeError', 'handle (src/billing.ts:12:7)')
  expect(of('TypeError', 'handle (src/billing.ts:99:1)')).toBe(one)
  expect(of('RangeError', 'handle (src/billing.ts:12:7)')).not.toBe(one)
  expect(of('TypeError', 'other (src/billing.ts:12:7)')).not.toBe(one)
  expect(of('TypeError', 'handle (src/billing.ts:12:7)', 'B')).not.toBe(one)
  expect(of('TypeError', 'handle (src/billing.ts:12:7)', 'A', 'h')).not.toBe(one)
})

test('the frame of a failure is the first that is neither of Node, nor of a package, nor of this library', () => {
  const stack = `Error: x
    at Session.query (${import.meta.dirname}/failure.ts:1:1)
    at process.processTicksAndRejections (node:internal/process/task_queues:105:5)
    at async Client.send (/app/node_modules/pg/lib/client.js:545:17)
    at async handle (file:///app/src/billing.ts:12:7)
    at async other (/app/src/other.ts:1:1)`
  expect(ownFrame(stack)).toBe('handle (/app/src/billing.ts:12:7)')
  expect(ownFrame('Error: x\n    at node:internal/x:1:1')).toBeNull()
  expect(ownFrame(undefined)).toBeNull()
})
