/**
 * Jars from Maven Central (or the mirror that Maven is set up for), brought once and kept in `.tidemark/jars`.
 *
 * @module
 */
import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdir, mkdtemp, readFile, readdir, rename, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { findMaven } from './java.ts'
import { keptBetweenRuns } from './repository-root.ts'

/** Artifacts that make one class path, with everything they depend on. */
export interface JarSet {
  readonly name: string
  readonly version: string
  /** As `group:artifact:version`. */
  readonly artifacts: readonly string[]
}

export interface JarOptions {
  /** Where the sets are kept. @default '.tidemark/jars' in the repository */
  readonly folder?: string
  /** Where Maven and Java are looked for. @default process.env */
  readonly environment?: NodeJS.ProcessEnv
  /** Told about the progress, a line at a time. @default standard error */
  readonly say?: (line: string) => void
}

/** What a whole set holds, written last: a set without it was cut off. */
interface Contents {
  readonly artifacts: readonly string[]
  readonly bytes: Readonly<Record<string, number>>
}

const contentsFile = 'contents.json'
/** A draft older than this was left by a process that was killed; nobody waits longer for a download. */
const abandonedAfterMs = 3_600_000

/** The folder with the jars of a set, brought by Maven where it is not there or not whole. Any number of processes may ask at once. */
export async function jars(set: JarSet, options: JarOptions = {}): Promise<string> {
  const folder = options.folder ?? join(keptBetweenRuns, 'jars')
  const place = join(folder, `${set.name}-${set.version}`)
  if (await isWhole(place, set)) return place
  await mkdir(folder, { recursive: true })
  await removeAbandoned(folder)
  const draft = await mkdtemp(join(folder, 'draft-'))
  try {
    await bring(set, draft, options)
    await publish(draft, place, set)
  } finally {
    await rm(draft, { recursive: true, force: true })
  }
  return place
}

/** Are the jars of this set here, so that neither Maven nor a network is needed? */
export async function hasJars(set: JarSet, folder = join(keptBetweenRuns, 'jars')): Promise<boolean> {
  return isWhole(join(folder, `${set.name}-${set.version}`), set)
}

async function isWhole(place: string, set: JarSet): Promise<boolean> {
  try {
    const { artifacts, bytes } = JSON.parse(await readFile(join(place, contentsFile), 'utf8')) as Contents
    if (artifacts.join() !== set.artifacts.join()) return false
    const sizes = await Promise.all(Object.keys(bytes).map(async (name) => (await stat(join(place, name))).size === bytes[name]))
    return sizes.length > 0 && sizes.every(Boolean)
  } catch {
    return false
  }
}

async function bring(set: JarSet, draft: string, options: JarOptions): Promise<void> {
  const say = options.say ?? ((line) => process.stderr.write(`${line}\n`))
  say(`servers: bringing ${set.name} ${set.version} with Maven; this happens once`)
  const project = await mkdtemp(join(tmpdir(), 'tidemark-maven-'))
  try {
    await writeFile(join(project, 'pom.xml'), pom(set))
    await runMaven(set, project, draft, options, say)
  } finally {
    await rm(project, { recursive: true, force: true })
  }
  const names = await readdir(draft)
  const sizes = await Promise.all(names.map(async (name) => [name, (await stat(join(draft, name))).size] as const))
  const contents: Contents = { artifacts: set.artifacts, bytes: Object.fromEntries(sizes) }
  await writeFile(join(draft, contentsFile), JSON.stringify(contents, null, 2))
  const megabytes = sizes.reduce((sum, [, size]) => sum + size, 0) / 1e6
  say(`servers: ${names.length} jars of ${set.name} ${set.version}, ${megabytes.toFixed(0)} MB`)
}

function pom(set: JarSet): string {
  const dependencies = set.artifacts.map((artifact) => {
    const [group = '', name = '', version = ''] = artifact.split(':')
    return `<dependency><groupId>${group}</groupId><artifactId>${name}</artifactId><version>${version}</version></dependency>`
  })
  return [
    '<project xmlns="http://maven.apache.org/POM/4.0.0">',
    '<modelVersion>4.0.0</modelVersion><groupId>tidemark</groupId><artifactId>jars</artifactId><version>1</version>',
    `<dependencies>${dependencies.join('\n')}</dependencies>`,
    '</project>',
  ].join('\n')
}

async function runMaven(set: JarSet, project: string, draft: string, options: JarOptions, say: (line: string) => void): Promise<void> {
  const environment = options.environment ?? process.env
  const flags = [
    '--batch-mode',
    '-Dstyle.color=never',
    'dependency:copy-dependencies',
    '-DincludeScope=runtime',
    `-DoutputDirectory=${draft}`,
  ]
  const child = spawn(findMaven(environment), flags, { cwd: project, env: environment, stdio: ['ignore', 'pipe', 'pipe'] })
  const said: string[] = []
  let downloaded = 0
  const hear = (line: string): void => {
    said.push(line)
    if (line.includes('Downloaded from') && line.includes('.jar') && ++downloaded % 20 === 0) say(`servers: ${downloaded} jars downloaded`)
  }
  for (const stream of [child.stdout, child.stderr]) createInterface(stream).on('line', hear)
  const code = await new Promise<number | null>((resolve, reject) => child.once('error', reject).once('close', resolve))
  if (code !== 0) throw new Error(failure(set, said))
}

function failure(set: JarSet, said: readonly string[]): string {
  const reasons = said.filter((line) => line.includes('[ERROR]') || line.includes('JAVA_HOME')).slice(0, 5)
  return (
    `Maven could not bring ${set.artifacts.join(', ')}:\n${(reasons.length > 0 ? reasons : said.slice(-10)).join('\n')}\n` +
    'Check that Maven reaches its repository (behind a proxy or mirror, by ~/.m2/settings.xml), or set KAFKA_BROKERS to a broker that runs already.'
  )
}

/** Puts a whole draft where the set belongs. If another process was faster, its set stays. */
async function publish(draft: string, place: string, set: JarSet): Promise<void> {
  for (let attempt = 0; attempt < 5; attempt++) {
    if (await isWhole(place, set)) return
    // A broken set goes out of the way in one step, so that nobody sees it half removed.
    const aside = `${draft}-broken-${randomUUID()}`
    await rename(place, aside).catch(ignore('ENOENT'))
    await rm(aside, { recursive: true, force: true })
    await rename(draft, place).catch(ignore('ENOTEMPTY', 'EEXIST', 'ENOENT'))
  }
  if (!(await isWhole(place, set)))
    throw new Error(`The jars in ${place} are not whole, although they were just brought. Remove that folder.`)
}

function ignore(...codes: readonly string[]): (error: unknown) => void {
  return (error) => {
    if (!codes.includes((error as NodeJS.ErrnoException).code ?? '')) throw error
  }
}

async function removeAbandoned(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!name.startsWith('draft-')) continue
    const since = await stat(join(folder, name)).then(
      ({ mtimeMs }) => Date.now() - mtimeMs,
      () => 0,
    )
    if (since > abandonedAfterMs) await rm(join(folder, name), { recursive: true, force: true })
  }
}
