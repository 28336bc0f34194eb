/** Reads system-packages.json, the one list of what npm cannot bring, and says what of it is missing on this machine. */
import { readdirSync, existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/**
 * @typedef {object} SystemPackage
 * @property {string} name how tests ask for it
 * @property {string} apt the Debian package
 * @property {string[]} provides files that are there once it is installed; `*` stands for any one folder
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
 * The files that a pattern with `*` for any one folder names.
 *
 * @param {string} pattern
 * @returns {string[]}
 */
export function matches(pattern) {
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
