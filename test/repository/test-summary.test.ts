import { expect, test } from 'vitest'
import { summarise } from '../../scripts/test-summary.mjs'

const passing = { status: 'passed', assertionResults: [{ status: 'passed' }, { status: 'passed' }] }

test('a green run counts its tests and exits 0', () => {
  expect(summarise({ testResults: [passing] }, 0)).toMatchObject({ line: '2 passed, 0 failed', exitCode: 0 })
})

test('skipped and todo tests are named only where there are some', () => {
  const partly = {
    status: 'passed',
    assertionResults: [{ status: 'passed' }, { status: 'skipped' }, { status: 'pending' }, { status: 'todo' }],
  }
  expect(summarise({ testResults: [partly] }, 0).line).toBe('1 passed, 0 failed, 3 skipped')
})

test('a failed test is counted once, whatever its file says', () => {
  const failing = { status: 'failed', assertionResults: [{ status: 'passed' }, { status: 'failed' }] }
  expect(summarise({ testResults: [passing, failing] }, 1)).toMatchObject({ line: '3 passed, 1 failed', exitCode: 1 })
})

test('a file that could not be loaded is a failure', () => {
  expect(summarise({ testResults: [passing, { status: 'failed', assertionResults: [] }] }, 1).line).toBe('2 passed, 1 failed')
})

test('an unhandled error fails a run whose tests all passed', () => {
  expect(summarise({ testResults: [passing] }, 1)).toMatchObject({ line: '2 passed, 1 failed', exitCode: 1 })
})

test('a run without a report, or without a test, has failed', () => {
  expect(summarise(undefined, 137)).toMatchObject({ line: '0 passed, 1 failed', exitCode: 1 })
  expect(summarise(undefined, 0)).toMatchObject({ line: '0 passed, 1 failed', exitCode: 1 })
  expect(summarise({ testResults: [] }, 0)).toMatchObject({ line: '0 passed, 1 failed', exitCode: 1 })
})
