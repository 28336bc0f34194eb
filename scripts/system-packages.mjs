/** Reads system-packages.json, the one list of what npm cannot bring, and says what of it is missing on this machine. */
import { accessSync, constants, readdirSync, existsSync, readFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/**
 * @typedef {object} SystemPackage
 * @property {string} name how tests ask for it
 * @property {string} apt the Debian package
 * @property {string[]} provides files that are there once it is installed; `*` stands for any one folder, `$PATH` for where
 *   commands are found
 * @property {string} neededBy
 */

const list = join(dirname(dirname(fileURLToPath(import.meta.url))), 'system-packages.json')

/** @returns {SystemPackage[]} */
export function systemPackages() {
  return JSON.parse(readFileSync(list, 'utf8')).packages
}

/** @returns {SystemPackage[]} */
export function missingSystemPackages() {
  return systemPackages().filter((each) => !each.provides.every((pattern) => matches(pattern).length > 0))
}

/**
 * A command on the PATH, in the `bin` of JAVA_HOME or MAVEN_HOME, or where systems put programs that they leave off the PATH.
 *
 * @param {string} name
 * @param {NodeJS.ProcessEnv} [environment]
 * @returns {string | undefined}
 */
export function executable(name, environment = process.env) {
  const ownHome = environment[{ java: 'JAVA_HOME', keytool: 'JAVA_HOME', mvn: 'MAVEN_HOME' }[name] ?? '']
  const folders = [
    ...(ownHome === undefined ? [] : [join(ownHome, 'bin')]),
    ...(environment['PATH'] ?? '').split(delimiter).filter((folder) => folder !== ''),
    ...(environment === process.env ? usualPlaces.flatMap(matches) : []),
  ]
  return folders.map((folder) => join(folder, name)).find(isExecutable)
}

const usualPlaces = [
  '/usr/bin',
  '/usr/local/bin',
  '/usr/share/maven/bin',
  '/usr/lib/jvm/*/bin',
  '/opt/homebrew/bin',
  '/opt/homebrew/opt/openjdk/bin',
]

/** @param {string} path */
function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/**
 * The files that a pattern with `*` for any one folder names; `$PATH/name` is a command.
 *
 * @param {string} pattern
 * @returns {string[]}
 */
export function matches(pattern) {
  if (pattern.startsWith('$PATH/')) return [executable(pattern.slice('$PATH/'.length))].filter((path) => path !== undefined)
  const [, ...steps] = pattern.split('/')
  let found = ['']
  for (const step of steps) found = found.flatMap((folder) => (step === '*' ? children(folder) : [`${folder}/${step}`]))
  return found.filter((path) => existsSync(path))
}

/** @param {string} folder */
function children(folder) {
  if (!existsSync(folder)) return []
  return readdirSync(folder).map((name) => `${folder}/${name}`)
}
