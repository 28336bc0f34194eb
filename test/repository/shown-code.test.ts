import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'

/** Code of the pages that is marked with `<!-- region: path#name -->` is the region of that name, in a program that a test runs. */

const root = new URL('../../', import.meta.url)
const read = (path: string): string => readFileSync(new URL(path, root), 'utf8')
const pages = execFileSync('git', ['ls-files', '*.md'], { cwd: root, encoding: 'utf8' }).trim().split('\n')

function regionOf(path: string, name: string): string | undefined {
  return new RegExp(`^// #region ${name}\\n([^]*?)^// #endregion ${name}$`, 'm').exec(read(path))?.[1]
}

const shown = pages.flatMap((page) =>
  [...read(page).matchAll(/<!-- region: (\S+)#(\S+) -->\n*(?:```ts\n([^]*?)```)?/g)].map(([, path, name, code]) => ({
    page,
    path: path!,
    name: name!,
    code,
  })),
)

test('the README and the pages of the patterns show code that runs', () => {
  expect(new Set(shown.map(({ page }) => page))).toEqual(
    new Set([
      'README.md',
      'docs/drivers/memory.md',
      'docs/patterns/dead-letters.md',
      'docs/patterns/idempotency.md',
      'docs/patterns/message.md',
      'docs/patterns/operations.md',
      'docs/patterns/outbox.md',
      'docs/patterns/retries.md',
      'docs/patterns/retry-topics.md',
    ]),
  )
})

describe.each(shown)('$page', ({ path, name, code }) => {
  test(`shows ${path}#${name} to the letter`, () => {
    expect(code).toBeDefined()
    expect(code).toBe(regionOf(path, name))
  })
})
