/**
 * What an import of each entry costs: all built modules it loads at once, gzipped together, against the limits of scripts/size-limits.json;
 * and the packages it loads at once, which must be exactly those the table allows. An optional peer may only be loaded on use.
 */
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { gzipSync } from 'node:zlib'
import ts from 'typescript'
import { entries } from './entries.mjs'

/**
 * @typedef {object} Limit
 * @property {number} gzipBytes
 * @property {string[]} packages what may be loaded from node_modules when the entry is imported
 */

/**
 * @param {string} root
 * @returns {{ complaints: string[], table: string[] }}
 */
export function checkSizes(root) {
  /** @type {Record<string, Limit>} */
  const limits = JSON.parse(readFileSync(join(root, 'scripts', 'size-limits.json'), 'utf8'))
  const all = entries(root)
  const unknown = Object.keys(limits).filter((subpath) => !all.some((entry) => entry.subpath === subpath))
  const results = all.filter(({ javascript }) => existsSync(javascript)).map((entry) => checkEntry(entry, limits[entry.subpath]))
  return {
    complaints: [
      ...unknown.map((subpath) => `scripts/size-limits.json names ${subpath}, which is no entry`),
      ...results.flatMap(({ complaints }) => complaints),
    ],
    table: results.map(({ line }) => line),
  }
}

/**
 * @param {import('./entries.mjs').Entry} entry
 * @param {Limit | undefined} limit
 */
function checkEntry({ subpath, javascript }, limit) {
  const { modules, packages } = loadedAtOnce(javascript)
  const bytes = gzipSync(modules.map((file) => readFileSync(file, 'utf8')).join('')).length
  const line = `${subpath} ${bytes} of ${limit?.gzipBytes ?? 'unlimited'} bytes, ${modules.length} modules${packages.length > 0 ? `, packages ${packages.join(', ')}` : ''}`
  if (limit === undefined) return { line, complaints: [`${subpath} has no limit in scripts/size-limits.json; it is ${bytes} bytes now`] }
  const complaints = packages
    .filter((name) => !limit.packages.includes(name))
    .map((name) => `${subpath} loads the package ${name} on import`)
  if (bytes > limit.gzipBytes) complaints.push(`${subpath} is ${bytes} bytes gzipped, over its limit of ${limit.gzipBytes}`)
  return { line, complaints }
}

/**
 * Follows static imports and re-exports; `import()` is on use and therefore not followed.
 *
 * @param {string} entry a built module
 * @returns {{ modules: string[], packages: string[] }}
 */
export function loadedAtOnce(entry) {
  const modules = new Set([entry])
  /** @type {Set<string>} */
  const packages = new Set()
  for (const file of modules) {
    for (const specifier of staticImports(file)) {
      if (specifier.startsWith('.')) modules.add(resolve(dirname(file), specifier))
      else if (!specifier.startsWith('node:')) packages.add(packageOf(specifier))
    }
  }
  return { modules: [...modules], packages: [...packages].sort() }
}

/**
 * @param {string} file
 * @returns {string[]}
 */
function staticImports(file) {
  const source = ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.ES2023)
  return source.statements.flatMap((statement) => {
    const specifier = ts.isImportDeclaration(statement) || ts.isExportDeclaration(statement) ? statement.moduleSpecifier : undefined
    return specifier !== undefined && ts.isStringLiteral(specifier) ? [specifier.text] : []
  })
}

/** @param {string} specifier */
function packageOf(specifier) {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')
}
