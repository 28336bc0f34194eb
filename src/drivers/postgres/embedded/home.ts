import { existsSync } from 'node:fs'
import { chmod, lchown, mkdir, readdir, stat } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { TidemarkError } from '../../../errors.ts'

/** Where everything about one embedded server lies. */
export interface Home {
  readonly directory: string
  /** The data directory, unless `place` records another one. */
  readonly data: string
  readonly lock: string
  readonly leases: string
  readonly password: string
  readonly port: string
  readonly log: string
  /** Says where data or binaries are kept instead, when the server's user cannot reach this directory. */
  readonly place: string
}

export function homeAt(directory: string): Home {
  const path = resolve(directory)
  return {
    directory: path,
    data: join(path, 'data'),
    lock: join(path, 'lock'),
    leases: join(path, 'leases'),
    password: join(path, 'password'),
    port: join(path, 'port'),
    log: join(path, 'server.log'),
    place: join(path, 'place.json'),
  }
}

/** `.tidemark/postgres` beside the nearest package.json, searched upwards from `from`; in `from` itself where there is none. */
export function defaultDirectory(from: string): string {
  for (let directory = resolve(from); ; directory = dirname(directory)) {
    if (existsSync(join(directory, 'package.json'))) return join(directory, '.tidemark', 'postgres')
    if (dirname(directory) === directory) return join(resolve(from), '.tidemark', 'postgres')
  }
}

/** Makes the home. Private to its user; under root open for passing through, since the server runs as another user. */
export async function makeHome(home: Home): Promise<void> {
  const made = await mkdir(home.directory, { recursive: true })
  if (made !== undefined) {
    const mode = runsAsRoot() ? 0o755 : 0o700
    for (let path = home.directory; path.length >= made.length; path = dirname(path)) await chmod(path, mode)
  }
  const { uid } = await stat(home.directory)
  const user = process.getuid?.()
  if (user === undefined || user === 0 || uid === user) return
  throw new TidemarkError(
    'EMBEDDED_FAILED',
    `The directory ${home.directory} belongs to user ${uid}, but this process runs as user ${user}.`,
    {
      details: { directory: home.directory, owner: uid, user },
      remedy: 'Run as that user, give the directory to this one with chown, or name another directory.',
    },
  )
}

/** Gives what root made here to the owner of the home (a user who called sudo), who could not go on with it otherwise. */
export async function giveToOwner(home: Home): Promise<void> {
  if (!runsAsRoot()) return
  const { uid, gid } = await stat(home.directory)
  if (uid === 0) return
  for (const name of await readdir(home.directory)) await lchown(join(home.directory, name), uid, gid)
}

export function runsAsRoot(): boolean {
  return process.getuid?.() === 0
}
