/**
 * `npm run bench -- NAME [--json] [options of the bench]`: runs bench/NAME.ts on Node 24, the version all published figures are of.
 * stdout is the bench's own; everything else goes to stderr.
 * What is measured is the built package, as its users have it, and no TypeScript loader where Node needs none.
 */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { ensureInstalled, root } from './ensure-installed.mjs'
import { environmentOf, node24 } from './node24.mjs'
import { runChild } from './run-child.mjs'
import { stopWithNpm } from './stop-with-npm.mjs'

const folder = join(root, 'bench')
const names = readdirSync(folder)
  .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'))
  .map((file) => file.slice(0, -'.ts'.length))
  .sort()
const [name, ...options] = process.argv.slice(2)

if (name === undefined || !names.includes(name)) {
  if (name !== undefined) process.stderr.write(`There is no bench called ${name}.\n`)
  process.stderr.write(`Usage: npm run bench -- NAME [--json]\nNames: ${names.join(', ') || 'none yet'}\n`)
  process.exit(2)
}

stopWithNpm()
await ensureInstalled()
const node = await node24()
if (node === undefined)
  process.stderr.write(`No Node 24 can be brought to ${process.platform} on ${process.arch}; the figures are of ${process.version}.\n`)
const built = await runChild(process.execPath, [join(root, 'scripts', 'verify.mjs'), 'build'], { cwd: root, stdio: ['ignore', 2, 2] })
const loader = node === undefined ? ['--import', 'tsx'] : []
process.exitCode =
  built ||
  (await runChild(node ?? process.execPath, [...loader, join(folder, `${name}.ts`), ...options], {
    cwd: root,
    env: node === undefined ? process.env : environmentOf(node),
  }))
