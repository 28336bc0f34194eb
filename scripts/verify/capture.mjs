import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/**
 * Runs a program and keeps what it says.
 *
 * @param {string} command
 * @param {readonly string[]} options
 * @param {string} cwd
 * @returns {Promise<{ passed: boolean, output: string }>}
 */
export async function capture(command, options, cwd) {
  const child = spawn(command, [...options], {
    cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
    shell: process.platform === 'win32' && command === 'npm',
  })
  /** @type {Buffer[]} */
  const chunks = []
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => chunks.push(chunk))
  const passed = await new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => resolve(code === 0))
  })
  return { passed, output: Buffer.concat(chunks).toString('utf8').trim() }
}

/**
 * The file behind a command of an installed package, to be run by Node itself: quicker than a shell around a link, and the same everywhere.
 *
 * @param {string} root
 * @param {string} name the package
 * @param {string} [command]
 */
export function tool(root, name, command = name) {
  const folder = join(root, 'node_modules', name)
  /** @type {{ bin: string | Record<string, string> }} */
  const { bin } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  const file = typeof bin === 'string' ? bin : bin[command]
  if (file === undefined) throw new Error(`The package ${name} has no command ${command}.`)
  return join(folder, file)
}
