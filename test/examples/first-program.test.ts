import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const run = promisify(execFile)
const example = resolve('examples/00-first-program')

test('the README opens with the first program, to the letter', async () => {
  const program = await readFile(join(example, 'main.ts'), 'utf8')
  const region = program.slice(program.indexOf('\n') + 1, program.indexOf('// #endregion')).trim()
  const readme = await readFile('README.md', 'utf8')
  expect(/```ts\n([^]*?)```/.exec(readme)![1]!.trim()).toBe(region)
})

test('the first program runs in an empty folder and leaves no server behind', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'tidemark-first-'))
  await writeFile(join(folder, 'package.json'), '{}')
  const tsx = import.meta.resolve('tsx')
  const { stdout } = await run(process.execPath, ['--conditions=tidemark-source', '--import', tsx, join(example, 'main.ts')], {
    cwd: folder,
  })
  expect(stdout).toBe(await readFile(join(example, 'expected.txt'), 'utf8'))
  await rm(folder, { recursive: true })
})
