import { execFile } from 'node:child_process'
import { constants, readdirSync, readlinkSync, statSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { pidExists, processWithPid, type ProcessIdentity } from './process-identity.ts'
import { readIfThere } from './small-file.ts'

/** A number no system gives to a process. */
const impossiblePid = 2_147_483_646

/** The server process that works on a data directory, as its postmaster.pid says and the system confirms. */
export interface Postmaster extends ProcessIdentity {
  readonly port: number
  readonly status: 'starting' | 'ready' | 'stopping'
}

/** The live server of this data directory, or `null`. A file left by a killed one, or copied from elsewhere, is seen through. */
export async function findPostmaster(data: string): Promise<Postmaster | null> {
  const lines = ((await readIfThere(pidFile(data))) ?? '').split('\n')
  const identity = processWithPid(Number(lines[0]))
  if (identity === null || !(await worksOn(identity.pid, data))) return null
  const status = lines[7]?.trim()
  return { ...identity, port: Number(lines[3]), status: status === 'ready' || status === 'stopping' ? status : 'starting' }
}

/**
 * Makes a postmaster.pid of a dead server harmless whose pid another process has by now (or a zombie): the server would take that one for its
 * predecessor and refuse to start. Only the pid is replaced; the rest lets the server see that old backends still hold the shared memory.
 */
export async function disarmStalePidFile(data: string): Promise<void> {
  const text = await readIfThere(pidFile(data))
  if (text === null) return
  const [pid = '', ...rest] = text.split('\n')
  if (!pidExists(Number(pid))) return
  // No link is followed: the directory belongs to another user when we are root.
  const file = await open(pidFile(data), constants.O_RDWR | (constants.O_NOFOLLOW ?? 0))
  try {
    await file.truncate()
    await file.write([impossiblePid, ...rest].join('\n'), 0)
  } finally {
    await file.close()
  }
}

/**
 * Backends that outlived their killed postmaster. They notice when they next wait, but a long computation keeps them, and no server starts
 * beside them. Found by their working directory; on systems without /proc none are found, and the start waits for them.
 */
export function orphansOf(data: string): readonly ProcessIdentity[] {
  if (process.platform !== 'linux') return []
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && isPostgres(name))
  return pids.flatMap((pid) => {
    const identity = worksIn(Number(pid), data) ? processWithPid(Number(pid)) : null
    return identity === null ? [] : [identity]
  })
}

function pidFile(data: string): string {
  return join(data, 'postmaster.pid')
}

async function worksOn(pid: number, data: string): Promise<boolean> {
  if (process.platform === 'linux') return worksIn(pid, data)
  if (process.platform === 'win32') return true
  const { stdout } = await promisify(execFile)('ps', ['-o', 'command=', '-p', String(pid)]).catch(() => ({ stdout: '' }))
  return stdout.includes('postgres') && stdout.includes(data)
}

/** Every process of a server changes into its data directory. Compared as files, so that a moved directory is recognised. */
function worksIn(pid: number, data: string): boolean {
  try {
    const theirs = statSync(`/proc/${pid}/cwd`)
    const ours = statSync(data)
    return theirs.ino === ours.ino && theirs.dev === ours.dev
  } catch {
    return false
  }
}

function isPostgres(pid: string): boolean {
  try {
    return /\/postgres( \(deleted\))?$/.test(readlinkSync(`/proc/${pid}/exe`))
  } catch {
    return false
  }
}
