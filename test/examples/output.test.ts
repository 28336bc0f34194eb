import { existsSync } from 'node:fs'
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { startProgram } from '../support/child-program.ts'

const examples = new URL('../../examples/', import.meta.url)
const names = (await readdir(examples)).filter((name) => existsSync(new URL(`${name}/expected.txt`, examples)))

test('every numbered example says what it prints', async () => {
  expect(names).toEqual((await readdir(examples)).filter((name) => /^\d/.test(name)))
})

test.each(names)('%s prints what it says, in an empty folder', async (name) => {
  const folder = await mkdtemp(join(tmpdir(), 'tidemark-example-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  await writeFile(join(folder, 'package.json'), '{}')
  const { code, stdout, stderr } = await startProgram(new URL(`${name}/main.ts`, examples), [], { cwd: folder }).ended
  expect(code, stderr).toBe(0)
  expect(stdout).toBe(await readFile(new URL(`${name}/expected.txt`, examples), 'utf8'))
})
