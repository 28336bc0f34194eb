import { ESLint } from 'eslint'
import { join } from 'node:path'
import tseslint from 'typescript-eslint'
import { expect, test } from 'vitest'
import { root } from '../../scripts/ensure-installed.mjs'
import { drivers, layers } from '../../scripts/lint/import-direction.mjs'

// The rules under test look at paths and syntax; types would need the imagined files to be part of a program.
const eslint = new ESLint({ cwd: root, overrideConfig: [tseslint.configs.disableTypeChecked] })

/** The rules that complain about a file of this path and text, which need not exist. */
async function complaints(path: string, text: string): Promise<(string | null)[]> {
  const [result] = await eslint.lintText(text, { filePath: join(root, path) })
  return (result?.messages ?? []).map(({ ruleId, message }) => ruleId ?? message)
}

const direction = 'import-x/no-restricted-paths'

test('a folder that stands below may be imported', async () => {
  expect(
    await complaints(
      'src/outbox/imagined.ts',
      "export { TidemarkError } from '../errors.ts'\nexport type { Broker } from '../message/port.ts'\n",
    ),
  ).toEqual([])
})

test('a folder that stands above may not', async () => {
  expect(await complaints('src/message/imagined.ts', "export type { OutboxStore } from '../outbox/port.ts'\n")).toEqual([direction])
  expect(await complaints('src/internal/imagined.ts', "export type { Broker } from '../message/port.ts'\n")).toEqual([direction])
})

test('a pattern may not import a driver', async () => {
  for (const pattern of ['outbox', 'consumer', 'retry', 'saga', 'view']) {
    expect(await complaints(`src/${pattern}/imagined.ts`, "export * from '../drivers/postgres/database.ts'\n")).toEqual([direction])
  }
})

test('a driver may not import another driver', async () => {
  expect(await complaints('src/drivers/memory/imagined.ts', "export * from '../postgres/database.ts'\n")).toEqual([direction])
  expect(await complaints('src/drivers/postgres/imagined.ts', "export * from './database.ts'\n")).toEqual([])
})

test('two files of one folder may not import each other', async () => {
  expect(await complaints('src/message/topic.ts', "export { event } from './event.ts'\n")).toEqual(['import-x/no-cycle'])
})

test('the library imports neither itself by name nor its tests', async () => {
  expect(await complaints('src/outbox/imagined.ts', "export { event } from 'tidemark'\n")).toContain('no-restricted-imports')
  expect(await complaints('src/outbox/imagined.ts', "export * from '../../test/support/system-packages.ts'\n")).toContain(
    'no-restricted-imports',
  )
})

test('a file is named after its idea, and exports names', async () => {
  expect(await complaints('src/outbox/utils.ts', 'export const one = 1\n')).toEqual(['tidemark/file-name'])
  expect(await complaints('src/outbox/imagined.ts', 'export default 1\n')).toEqual(['import-x/no-default-export'])
})

test('the table of layers has each folder once and knows every driver folder', async () => {
  const { readdir } = await import('node:fs/promises')
  const folders = layers.flatMap((layer) => layer.folders)
  expect(new Set(folders).size).toBe(folders.length)
  const present = (await readdir(join(root, 'src'))).filter((name) => name !== 'index.ts' && !name.endsWith('.test.ts'))
  expect(folders).toEqual(expect.arrayContaining(present))
  const driverFolders = (await readdir(join(root, 'src', 'drivers'), { withFileTypes: true })).filter((each) => each.isDirectory())
  expect(drivers).toEqual(expect.arrayContaining(driverFolders.map(({ name }) => name)))
})
