import { execFileSync } from 'node:child_process'
import { statSync } from 'node:fs'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const script = fileURLToPath(new URL('./compile-program.mjs', import.meta.url))
const root = fileURLToPath(new URL('../../', import.meta.url))
const folder = resolve(root, 'node_modules/.cache/tidemark-test-programs')

interface Compiled {
  readonly file: string
  readonly sources: readonly string[]
  /** The latest change of a source. */
  readonly changedAt: number
}

const compiled = new Map<string, Compiled>()

/** The JavaScript file of a TypeScript program of this repository, with all that it imports from here. Made when first asked for, and when a source changes. */
export function compiledProgram(program: URL): string {
  const path = fileURLToPath(program)
  const known = compiled.get(path)
  if (known !== undefined && latestChange(known.sources) === known.changedAt) return known.file
  const said = execFileSync(process.execPath, [script, path, folder], { cwd: root, encoding: 'utf8' })
  const { file, sources } = JSON.parse(said) as Pick<Compiled, 'file' | 'sources'>
  compiled.set(path, { file, sources, changedAt: latestChange(sources) })
  return file
}

function latestChange(sources: readonly string[]): number {
  return Math.max(...sources.map((source) => statSync(resolve(root, source), { throwIfNoEntry: false })?.mtimeMs ?? 0))
}
