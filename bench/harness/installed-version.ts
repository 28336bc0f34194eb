import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The version of a package as it is installed here. Read from the file: not every package exports its package.json. */
export function installedVersion(name: string): string {
  for (let folder = dirname(fileURLToPath(import.meta.url)); folder !== dirname(folder); folder = dirname(folder)) {
    const file = join(folder, 'node_modules', name, 'package.json')
    if (existsSync(file)) return versionIn(file)
  }
  throw new Error(`${name} is not installed; run npm ci`)
}

/** The version of this very package. */
export function ownVersion(): string {
  return versionIn(fileURLToPath(new URL('../../package.json', import.meta.url)))
}

function versionIn(file: string): string {
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version
}
