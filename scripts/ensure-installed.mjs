/**
 * Brings node_modules in line with package-lock.json before anything else runs. Plain Node, no dependencies, so that a fresh clone can run it.
 *
 * All progress goes to stderr: the commands that call this keep stdout for their result.
 */
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, lstatSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

export const root = dirname(dirname(fileURLToPath(import.meta.url)))

const oldestNode = [20, 19]

/**
 * Installs the locked dependencies of `folder` when they are missing or not those of its lock file. Two processes may call it at once; one installs, the other waits.
 *
 * @param {string} [folder]
 */
export async function ensureInstalled(folder = root) {
  refuseOldNode()
  while (!isInstalled(folder)) {
    refuseLinkedFolder(folder)
    if (await someoneElseInstalls(folder)) continue
    await install(folder)
  }
}

function refuseOldNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  if (major > (oldestNode[0] ?? 0) || (major === oldestNode[0] && minor >= (oldestNode[1] ?? 0))) return
  process.stderr.write(`Tidemark needs Node ${oldestNode.join('.')} or newer; this is ${process.version}.\n`)
  process.exit(2)
}

/**
 * `npm ci` empties what a link points to, the installation of another checkout for example, and only then replaces the link.
 *
 * @param {string} folder
 */
function refuseLinkedFolder(folder) {
  const modules = join(folder, 'node_modules')
  if (lstatSync(modules, { throwIfNoEntry: false })?.isSymbolicLink() !== true) return
  process.stderr.write(
    `${modules} is a link to an installation that does not fit this package-lock.json. Remove the link, or install there.\n`,
  )
  process.exit(1)
}

/**
 * npm writes node_modules/.package-lock.json last, so a killed installation never looks finished. The stamp covers a lock file that was only touched,
 * for example by a checkout of another branch and back.
 *
 * @param {string} folder
 */
function isInstalled(folder) {
  const finished = join(folder, 'node_modules', '.package-lock.json')
  if (!existsSync(finished)) return false
  const lock = join(folder, 'package-lock.json')
  if (statSync(finished).mtimeMs >= statSync(lock).mtimeMs) return true
  const stamp = stampFile(folder)
  return existsSync(stamp) && readFileSync(stamp, 'utf8') === digest(lock)
}

/** @param {string} folder */
function stampFile(folder) {
  return join(folder, 'node_modules', '.tidemark-lock-digest')
}

/** @param {string} file */
function digest(file) {
  return createHash('sha256').update(readFileSync(file)).digest('hex')
}

/** @param {string} folder */
function installerFile(folder) {
  return join(folder, '.tidemark', 'installer.pid')
}

/**
 * True after having waited for another process that installs into the same folder. An `npm ci` outlives a `kill -9` of its starter,
 * and two of them in one folder destroy each other's work.
 *
 * @param {string} folder
 */
async function someoneElseInstalls(folder) {
  const file = installerFile(folder)
  const installer = recordedInstaller(file)
  if (installer === undefined) return false
  if (isInstaller(installer)) process.stderr.write(`Waiting for the installation that runs as process ${installer} ...\n`)
  for (let current = recordedInstaller(file); current !== undefined && isInstaller(current); current = recordedInstaller(file))
    await delay(200)
  rmSync(file, { force: true })
  return true
}

/** @param {string} file */
function recordedInstaller(file) {
  try {
    return Number(readFileSync(file, 'utf8'))
  } catch {
    return undefined
  }
}

/**
 * A number in a file may by now belong to another program; where the system tells, the command line is checked too.
 *
 * @param {number} processId
 */
function isInstaller(processId) {
  if (!Number.isInteger(processId) || processId <= 0) return false
  try {
    process.kill(processId, 0)
    if (!existsSync('/proc/self/cmdline')) return true
    return /npm|\.mjs/.test(readFileSync(`/proc/${processId}/cmdline`, 'utf8'))
  } catch {
    return false
  }
}

/** @param {string} folder */
async function install(folder) {
  const file = installerFile(folder)
  if (!claim(file)) return
  process.stderr.write('Installing dependencies (npm ci) ...\n')
  const started = Date.now()
  // --loglevel: the .npmrc of this folder silences npm, an installation must be heard. --include=dev: also under NODE_ENV=production.
  const options = ['ci', '--include=dev', '--include=optional', '--no-audit', '--no-fund', '--loglevel=notice', '--no-json']
  const [command, ...first] = npmCommand()
  const child = spawn(command, [...first, ...options], {
    cwd: folder,
    stdio: ['ignore', process.stderr, process.stderr],
    shell: process.platform === 'win32' && command === 'npm',
  })
  if (child.pid !== undefined) writeFileSync(file, String(child.pid))
  /** @type {number | null} */
  const code = await new Promise((resolve, reject) => child.once('error', reject).once('exit', resolve))
  rmSync(file, { force: true })
  if (code !== 0) {
    process.stderr.write(`The installation failed (npm ci, exit code ${code}). What npm says stands above.\n`)
    process.exit(1)
  }
  writeFileSync(stampFile(folder), digest(join(folder, 'package-lock.json')))
  process.stderr.write(`Installed in ${((Date.now() - started) / 1000).toFixed(1)} s.\n`)
}

/**
 * False when another process was faster.
 *
 * @param {string} file
 */
function claim(file) {
  mkdirSync(dirname(file), { recursive: true })
  try {
    writeFileSync(file, String(process.pid), { flag: 'wx' })
    return true
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false
    throw error
  }
}

/**
 * The npm that started this process, else the one on the path.
 *
 * @returns {[string, ...string[]]}
 */
function npmCommand() {
  const runningNpm = process.env['npm_execpath']
  return runningNpm?.endsWith('.js') && existsSync(runningNpm) ? [process.execPath, runningNpm] : ['npm']
}
