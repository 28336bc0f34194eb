/**
 * What a test asks before it uses a program that npm cannot bring. The list is system-packages.json.
 *
 * ```ts
 * const postgres = systemPackage('postgresql')
 * describe.skipIf(postgres.missing)(`the oldest supported Postgres${postgres.note}`, () => { … })
 * ```
 *
 * @module
 */
import { matches, missingSystemPackages, systemPackages } from '../../scripts/system-packages.mjs'

export interface SystemPackageState {
  readonly missing: boolean
  /** The files found, in the order of `provides`; of several versions the newest. Empty while missing. */
  readonly files: readonly string[]
  /** The reason of a skip, to append to a test's name. Empty while nothing is missing. */
  readonly note: string
}

/** Is the package of this name there? Throws for a name that system-packages.json does not have. */
export function systemPackage(name: string): SystemPackageState {
  const found = systemPackages().find((each) => each.name === name)
  if (found === undefined) throw new Error(`system-packages.json has no entry named ${name}; add one.`)
  const missing = missingSystemPackages().some((each) => each.name === name)
  if (missing) return { missing, files: [], note: ` [skipped: the system package ${found.apt} is missing; \`npm run setup\` brings it]` }
  return { missing, files: found.provides.map(newest), note: '' }
}

function newest(pattern: string): string {
  const sorted = [...matches(pattern)].sort((one, other) => one.localeCompare(other, 'en', { numeric: true }))
  return sorted.at(-1) ?? pattern
}
