import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const run = promisify(execFile)
const example = resolve('examples/02-outbox')

test('the example prints what it says it prints', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'tidemark-outbox-example-'))
  await writeFile(join(folder, 'package.json'), '{}')
  const tsx = import.meta.resolve('tsx')
  const { stdout } = await run(process.execPath, ['--conditions=tidemark-source', '--import', tsx, join(example, 'main.ts')], {
    cwd: folder,
  })
  expect(stdout).toBe(await readFile(join(example, 'expected.txt'), 'utf8'))
  await rm(folder, { recursive: true })
})

test('the pattern page shows the code of the example, to the letter', async () => {
  const program = await readFile(join(example, 'main.ts'), 'utf8')
  const region = /\/\/ #region publish\n([^]*?)\/\/ #endregion/.exec(program)![1]!.trim()
  const page = await readFile('docs/patterns/outbox.md', 'utf8')
  expect(/```ts\n([^]*?)```/.exec(page)![1]!.trim()).toBe(region)
})
