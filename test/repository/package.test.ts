import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { root } from '../../scripts/ensure-installed.mjs'
import { matches, systemPackages } from '../../scripts/system-packages.mjs'
import { entries } from '../../scripts/verify/entries.mjs'

function read(path: string): string {
  return readFileSync(join(root, path), 'utf8')
}

describe('package.json', () => {
  test.each(entries(root))('$subpath leads to a source file, and to the built files of the same name', ({ source, types, javascript }) => {
    expect(existsSync(source), `${source} exists`).toBe(true)
    const built = source.replace(join(root, 'src'), join(root, 'dist'))
    expect(javascript).toBe(built.replace(/\.ts$/, '.js'))
    expect(types).toBe(built.replace(/\.ts$/, '.d.ts'))
  })

  test('every entry has a limit of size, and every limit an entry', () => {
    const limits: unknown = JSON.parse(read('scripts/size-limits.json'))
    expect(Object.keys(limits as object).sort()).toEqual(
      entries(root)
        .map(({ subpath }) => subpath)
        .sort(),
    )
  })

  test('the only packages that a user gets unasked are the run-time dependencies the design names', () => {
    const manifest = JSON.parse(read('package.json')) as Record<string, Record<string, unknown>>
    expect(Object.keys(manifest['dependencies'] ?? {})).toEqual(['pg'])
    expect(Object.keys(manifest['peerDependencies'] ?? {})).toEqual(Object.keys(manifest['peerDependenciesMeta'] ?? {}))
  })

  test('docs/design/dependencies.md explains every dependency', () => {
    const manifest = JSON.parse(read('package.json')) as Record<string, Record<string, unknown> | undefined>
    const names = ['dependencies', 'peerDependencies', 'devDependencies', 'overrides'].flatMap((field) =>
      Object.keys(manifest[field] ?? {}),
    )
    const page = read('docs/design/dependencies.md')
    expect(names.filter((name) => !page.includes(`\`${name}\``))).toEqual([])
  })
})

describe.each(['package-lock.json', 'scripts/node24/package-lock.json'])('%s', (path) => {
  test('names no registry, so that it serves behind any mirror', () => {
    expect(read(path)).not.toMatch(/"resolved"|registry\.|https?:\/\/[^"]*\.tgz/)
  })

  test('pins every package by version and content, so that npm ci accepts it', () => {
    const lock = JSON.parse(read(path)) as {
      packages: Record<string, { version?: string; integrity?: string; optionalDependencies?: Record<string, string> }>
    }
    const installed = Object.entries(lock.packages).filter(([name]) => name !== '')
    expect(installed.filter(([, each]) => each.version === undefined || each.integrity === undefined)).toEqual([])
    const known = new Set(installed.map(([name]) => name.replace(/^.*node_modules\//, '')))
    const optional = installed.flatMap(([, each]) => Object.keys(each.optionalDependencies ?? {}))
    expect(optional.filter((name) => !known.has(name))).toEqual([])
  })
})

describe('system-packages.json', () => {
  test.each(systemPackages())('$name says what it is, what it provides and what needs it', (each) => {
    expect(Object.keys(each).sort()).toEqual(['apt', 'name', 'neededBy', 'provides'])
    expect(each.apt).toMatch(/^[a-z0-9][a-z0-9.+-]+$/)
    expect(each.neededBy.length).toBeGreaterThan(10)
    expect(each.provides.length).toBeGreaterThan(0)
    for (const file of each.provides) expect(file).toMatch(/^(\$PATH)?\//)
  })

  test('a star in a pattern stands for any one folder', () => {
    expect(matches(`${root}/scripts/*/import-direction.mjs`)).toEqual([`${root}/scripts/lint/import-direction.mjs`])
    expect(matches(`${root}/scripts/*/no-such-file`)).toEqual([])
  })
})
