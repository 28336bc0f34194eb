import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/**
 * @typedef {object} Entry one way into the package, as its exports map has it
 * @property {string} subpath such as `./outbox`
 * @property {string} name what a report of it is called: `tidemark` for the front door, else the subpath
 * @property {string} source
 * @property {string} types
 * @property {string} javascript
 */

/**
 * @param {string} root
 * @returns {Entry[]}
 */
export function entries(root) {
  /** @type {{ exports: Record<string, string | Record<string, string>> }} */
  const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  return Object.entries(manifest.exports).flatMap(([subpath, target]) => {
    if (typeof target === 'string') return []
    const file = (/** @type {string} */ condition) => join(root, target[condition] ?? '')
    const name = subpath === '.' ? 'tidemark' : subpath.slice('./'.length)
    return [{ subpath, name, source: file('tidemark-source'), types: file('types'), javascript: file('default') }]
  })
}
