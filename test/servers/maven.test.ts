import { mkdir, mkdtemp, readdir, rm, symlink, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { findJava } from '../../servers/java.ts'
import { type JarSet, hasJars, jars } from '../../servers/maven.ts'
import { systemPackage } from '../support/system-packages.ts'

const maven = systemPackage('maven')
const set: JarSet = { name: 'small', version: '1.7.36', artifacts: ['org.slf4j:slf4j-nop:1.7.36'] }
const both = ['slf4j-api-1.7.36.jar', 'slf4j-nop-1.7.36.jar']

const root = await mkdtemp(join(tmpdir(), 'tidemark-jars-'))
afterAll(() => rm(root, { recursive: true }))

describe.skipIf(maven.missing)(`jars by Maven${maven.note}`, () => {
  const said: string[] = []
  const options = { folder: join(root, 'jars'), say: (line: string) => void said.push(line) }

  test('are brought once, with what they depend on, by any number that ask at once', async () => {
    expect(await hasJars(set, options.folder)).toBe(false)
    const places = await Promise.all([jars(set, options), jars(set, options)])
    expect(new Set(places)).toEqual(new Set([join(options.folder, 'small-1.7.36')]))
    expect((await readdir(places[0])).filter((name) => name.endsWith('.jar')).sort()).toEqual(both)
    const before = said.length
    await jars(set, options)
    expect(said.length).toBe(before)
    expect(await readdir(options.folder)).toEqual([basename(places[0])])
  })

  test.each([
    ['a jar was cut', (place: string) => truncate(join(place, both[0]!), 10)],
    ['a jar was lost', (place: string) => rm(join(place, both[1]!))],
    ['its list of contents was cut', (place: string) => writeFile(join(place, 'contents.json'), '{"by')],
  ])('are brought anew where %s', async (_, break_) => {
    await break_(await jars(set, options))
    expect(await hasJars(set, options.folder)).toBe(false)
    await jars(set, options)
    expect(await hasJars(set, options.folder)).toBe(true)
  })

  test('that do not exist are named, with what to check', async () => {
    const missing = { ...set, name: 'missing', artifacts: ['org.slf4j:no-such-thing:1.0'] }
    await expect(jars(missing, options)).rejects.toThrow(
      /org\.slf4j:no-such-thing:1\.0:\n.*ERROR[^]*Check that Maven reaches its repository/,
    )
    expect(await hasJars(missing, options.folder)).toBe(false)
    expect((await readdir(options.folder)).filter((name) => name.startsWith('draft'))).toEqual([])
  })
})

test('without Maven the error says so, and what to do', async () => {
  const environment = { PATH: join(root, 'no-such-folder') }
  const refused = jars(set, { folder: join(root, 'other'), environment, say: () => undefined })
  await expect(refused).rejects.toThrow(/Maven is needed.*no mvn on the PATH.*npm run setup.*KAFKA_BROKERS/)
})

test('Java is found in JAVA_HOME where it is not on the PATH', async () => {
  await mkdir(join(root, 'bin'))
  await symlink(process.execPath, join(root, 'bin', 'java'))
  expect(findJava({ PATH: '', JAVA_HOME: root })).toBe(join(root, 'bin', 'java'))
})
