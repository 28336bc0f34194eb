import { readFileSync, writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { TidemarkError, errorCatalogue } from './errors.ts'

const page = new URL('../docs/reference/errors.md', import.meta.url)

function table(): string {
  const rows = Object.entries(errorCatalogue).map(
    ([code, { summary, retryable, exitCode }]) => `| \`${code}\` | ${summary} | ${retryable ? 'yes' : 'no'} | ${exitCode} |`,
  )
  return ['| code | what it means | may the same call succeed later | exit code of the CLI |', '|---|---|---|---|', ...rows].join('\n')
}

test('every code stands in the reference, as the catalogue says it (TIDEMARK_UPDATE_DOCS=1 writes it)', () => {
  const before = readFileSync(page, 'utf8')
  const after = before.replace(/(<!-- catalogue -->\n)[^]*?(<!-- end -->)/, `$1\n${table()}\n\n$2`)
  if (process.env['TIDEMARK_UPDATE_DOCS'] === '1') writeFileSync(page, after)
  else expect(before).toBe(after)
})

test('an error is recognised across copies of the package, by its brand and not its class', () => {
  const ours = new TidemarkError('INPUT_INVALID', 'no')
  const foreign = { [Symbol.for('tidemark.error')]: true, code: 'INPUT_INVALID' }
  expect([ours, foreign, new Error('no'), null, 'INPUT_INVALID'].map((value) => TidemarkError.is(value))).toEqual([
    true,
    true,
    false,
    false,
    false,
  ])
  expect(TidemarkError.is(ours, 'EVENT_INVALID')).toBe(false)
})

test('an error says what to do, keeps its cause, and its details cannot be changed', () => {
  const cause = new Error('root')
  const error = new TidemarkError('CONFIG_INVALID', 'Expected one, got two.', { cause, details: { given: 2 }, remedy: 'Give one.' })
  expect(error.message).toBe('Expected one, got two. Give one.')
  expect(error.cause).toBe(cause)
  expect(error.retryable).toBe(false)
  expect(Object.isFrozen(error.details)).toBe(true)
})
