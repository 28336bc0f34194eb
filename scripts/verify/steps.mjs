/** What `npm run verify` consists of. A step returns its complaints; an empty text means it passed. */
import { availableParallelism } from 'node:os'
import { checkApiReports } from './api-report.mjs'
import { build } from './build.mjs'
import { capture, tool } from './capture.mjs'
import { checkExports } from './exports.mjs'
import { checkSizes } from './size.mjs'

/**
 * @typedef {object} Step
 * @property {string} name
 * @property {string} about
 * @property {string[]} [after] steps whose outcome this one reads; it is not run when one of them failed
 * @property {(root: string, options: { update: boolean }) => Promise<string> | string} run
 */

/**
 * @param {string} root
 * @param {string} script
 * @param {string[]} [options]
 */
async function node(root, script, options = []) {
  const { passed, output } = await capture(process.execPath, [script, ...options], root)
  return passed ? '' : output
}

/** @type {readonly Step[]} */
export const steps = [
  { name: 'format', about: 'prettier', run: (root) => node(root, tool(root, 'prettier'), ['--check', '--log-level=warn', '.']) },
  { name: 'lint', about: 'eslint, with the import direction', run: (root) => node(root, tool(root, 'eslint'), ['--max-warnings=0', '.']) },
  {
    name: 'types',
    about: 'tsc over sources, tests, examples, benches and scripts',
    run: (root) => node(root, tool(root, 'typescript', 'tsc'), ['-p', '.', '--pretty', 'false']),
  },
  {
    name: 'migrations',
    about: 'compiled.ts is what the SQL files compile to',
    run: (root) => node(root, 'scripts/compile-migrations.mjs', ['--check']),
  },
  { name: 'build', about: 'dist', run: (root) => build(root) },
  { name: 'exports', about: 'publint and attw on the packed package', after: ['build'], run: (root) => checkExports(root) },
  { name: 'api', about: 'etc/*.api.md is the public surface', after: ['build'], run: (root, options) => checkApiReports(root, options) },
  { name: 'size', about: 'gzipped bytes and packages per entry', after: ['build'], run: (root) => checkSizes(root).complaints.join('\n') },
]

/** Steps at a time. More than two only compete for memory. */
export const width = Math.min(2, availableParallelism())
