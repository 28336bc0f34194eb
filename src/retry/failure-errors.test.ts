import { expect, test } from 'vitest'
import { classify } from './classification.ts'
import * as own from './failure-errors.ts'
import { failureOf } from './failure.ts'

type Copy = typeof own

/** Another copy of the package in the same process: the module is evaluated once more. */
const other = (await import(/* @vite-ignore */ `./failure-errors.ts?copy=${Date.now()}`)) as Copy

const terminal = ['TerminalError', 'ValidationError', 'BusinessRuleViolation', 'DeserializationError'] as const

test('the second copy is one', () => {
  for (const name of [...terminal, 'RetryLater'] as const) expect(other[name]).not.toBe(own[name])
  expect(new other.ValidationError('no')).not.toBeInstanceOf(own.TerminalError)
})

test.each(terminal)('%s of another copy of the package is known for what it is, and never retried', (name) => {
  const error = new other[name]('out of range')
  expect(own.isTerminal(error)).toBe(true)
  expect(classify(error)).toBe('poison')
  expect(failureOf(error)).toMatchObject({ is: 'poison', errorClass: name, reason: 'out of range', laterMs: null })
})

test.each(terminal)('a subclass of %s of another copy counts, too', (name) => {
  const error = new (class NoSuchCustomer extends other[name] {})('c-17')
  expect([own.isTerminal(error), classify(error)]).toEqual([true, 'poison'])
})

test('RetryLater of another copy of the package waits as long as it says', () => {
  const error = new other.RetryLater(30_000, 'ten calls a minute')
  expect(own.retryLaterMs(error)).toBe(30_000)
  expect(own.isTerminal(error)).toBe(false)
  expect(failureOf(error)).toMatchObject({ laterMs: 30_000, reason: 'ten calls a minute' })
})

test('what only looks like one by its name is not', () => {
  const error = Object.assign(new Error('no'), { name: 'ValidationError' })
  expect([own.isTerminal(error), own.retryLaterMs(error)]).toEqual([false, null])
})
