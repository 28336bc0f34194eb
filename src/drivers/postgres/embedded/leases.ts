import { randomUUID } from 'node:crypto'
import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { isAlive, parseIdentity, thisProcess, type ProcessIdentity } from './process-identity.ts'
import { readIfThere, writeWhole } from './small-file.ts'

/** Notes that this process uses the server. Callers hold the lock. Returns the path of the note. */
export async function writeLease(directory: string): Promise<string> {
  await mkdir(directory, { recursive: true })
  const path = join(directory, `${process.pid}-${randomUUID()}.json`)
  await writeWhole(path, JSON.stringify(thisProcess()), 0o644)
  return path
}

/** The processes that use the server. Notes of dead ones are removed. Callers hold the lock. */
export async function liveLeases(directory: string): Promise<readonly ProcessIdentity[]> {
  const live: ProcessIdentity[] = []
  for (const name of await readdir(directory).catch(() => [])) {
    const path = join(directory, name)
    const identity = parseIdentity((await readIfThere(path)) ?? '')
    if (identity !== null && isAlive(identity)) live.push(identity)
    else await rm(path, { force: true })
  }
  return live
}
