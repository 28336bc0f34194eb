import { execFile } from 'node:child_process'
import { stat } from 'node:fs/promises'
import { promisify } from 'node:util'
import { TidemarkError } from '../../../errors.ts'
import { runsAsRoot, type Home } from './home.ts'

const run = promisify(execFile)

/** The unprivileged user the server runs as when we are root, which Postgres refuses to be. */
export interface ServerUser {
  readonly name: string
  readonly uid: number
  readonly gid: number
}

/** Ways to make a system user: Debian, Red Hat and their kin; then busybox. */
const waysToAdd: readonly (readonly [string, readonly string[]])[] = [
  ['useradd', ['--system', '--no-create-home', '--home-dir', '/nonexistent', '--shell', '/usr/sbin/nologin', 'tidemark']],
  ['adduser', ['-S', '-D', '-H', 'tidemark']],
]

/**
 * Who the server runs as: `null` for ourselves, unless we are root. Then the owner of the home if that is somebody else (the project of a user
 * who called sudo), else the user `postgres`, else `tidemark`, which is made if possible, else `nobody`. Rejects with `EMBEDDED_FAILED`.
 */
export async function chooseServerUser(home: Home): Promise<ServerUser | null> {
  if (!runsAsRoot()) return null
  const { uid, gid } = await stat(home.directory)
  const user = uid !== 0 ? { name: String(uid), uid, gid } : await unprivilegedUser()
  // Fails here, with the reason, where root is not allowed to become anybody else.
  if (user !== null && (await canEnter(user, '/'))) return user
  throw new TidemarkError(
    'EMBEDDED_FAILED',
    'Postgres refuses to run as root, and there is no user postgres, tidemark or nobody to run it as.',
    {
      remedy: 'Make one, for example with: useradd --system tidemark. Or run as an ordinary user.',
    },
  )
}

/** Can this user enter the directory? Tried for real, so that mount options and access lists count too. */
export async function canEnter(user: ServerUser, directory: string): Promise<boolean> {
  try {
    await run('/bin/sh', ['-c', 'cd -- "$1" && test -x .', 'sh', directory], { cwd: '/', uid: user.uid, gid: user.gid, env: {} })
    return true
  } catch (error) {
    const { code } = error as { code?: number | string }
    if (code !== 'EPERM' && code !== 'EINVAL') return false
    throw new TidemarkError('EMBEDDED_FAILED', `This process is root but may not become user ${user.name} (uid ${user.uid}): ${code}.`, {
      cause: error,
      remedy: 'Postgres refuses to run as root. Run as an ordinary user, or use your own server.',
    })
  }
}

async function unprivilegedUser(): Promise<ServerUser | null> {
  return (await lookUp('postgres')) ?? (await lookUp('tidemark')) ?? (await addUser()) ?? (await lookUp('nobody'))
}

async function addUser(): Promise<ServerUser | null> {
  for (const [command, args] of waysToAdd) {
    await run(command, [...args]).catch(() => undefined)
    const user = await lookUp('tidemark')
    if (user !== null) return user
  }
  return null
}

async function lookUp(name: string): Promise<ServerUser | null> {
  try {
    const [uid, gid] = await Promise.all(['-u', '-g'].map(async (flag) => Number((await run('id', [flag, name])).stdout)))
    return uid === undefined || gid === undefined || !(uid > 0) ? null : { name, uid, gid }
  } catch {
    return null
  }
}
