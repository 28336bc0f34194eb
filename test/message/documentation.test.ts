import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const root = new URL('../../', import.meta.url)
const read = (path: string): Promise<string> => readFile(new URL(path, root), 'utf8')

test('the code of the pattern page is the region of the example', async () => {
  const region = /\/\/ #region events\n([\s\S]*?)\/\/ #endregion events/.exec(await read('examples/01-messages/main.ts'))?.[1]
  const shown = /#events -->\n\n```ts\n([\s\S]*?)```/.exec(await read('docs/patterns/message.md'))?.[1]
  expect(shown).toBeDefined()
  expect(shown).toBe(region)
})

test('the example prints what it promises', async () => {
  const main = fileURLToPath(new URL('examples/01-messages/main.ts', root))
  const { stdout } = await promisify(execFile)(process.execPath, ['--conditions=tidemark-source', '--import', 'tsx', main], {
    cwd: fileURLToPath(root),
  })
  expect(stdout).toBe(await read('examples/01-messages/expected.txt'))
})
