/**
 * The directory of a server, and who answers for it. If the process that started the server is killed, the next start of any server removes
 * the directory and ends what ran in it.
 *
 * @module
 */
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isAlive, parseIdentity, processWithPid, thisProcess } from '../src/drivers/postgres/embedded/process-identity.ts'
import { readIfThere } from '../src/drivers/postgres/embedded/small-file.ts'
import { endsWithin, signal } from '../src/drivers/postgres/embedded/stop.ts'

const prefix = 'tidemark-server-'
const ownerFile = 'owner.json'
const processSuffix = '.process.json'

/** Makes an empty directory for a server of this process, and clears up after processes that are gone. */
export async function makeHome(kind: string): Promise<string> {
  await removeAbandonedHomes()
  const home = await mkdtemp(join(tmpdir(), `${prefix}${kind}-`))
  await writeFile(join(home, ownerFile), JSON.stringify(thisProcess()))
  return home
}

/** Notes a process that runs in a home, by a name that is free to use again for the next one. */
export async function noteProcess(home: string, name: string, pid: number): Promise<void> {
  await writeFile(join(home, `${name}${processSuffix}`), JSON.stringify(processWithPid(pid) ?? { pid, startedAt: 'gone' }))
}

/** Removes a home whose processes have ended. */
export async function removeHome(home: string): Promise<void> {
  await rm(home, { recursive: true, force: true, maxRetries: 5 })
}

/** Ends the servers of processes that are gone, and removes their directories. */
export async function removeAbandonedHomes(): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    if (!name.startsWith(prefix)) continue
    const home = join(tmpdir(), name)
    const owner = parseIdentity((await readIfThere(join(home, ownerFile))) ?? '')
    if (owner === null || isAlive(owner)) continue
    await endProcesses(home)
    await removeHome(home)
  }
}

async function endProcesses(home: string): Promise<void> {
  const names = await readdir(home).catch(() => [])
  for (const name of names.filter((each) => each.endsWith(processSuffix))) {
    const left = parseIdentity((await readIfThere(join(home, name))) ?? '')
    if (left === null || !isAlive(left)) continue
    signal(left, 'SIGKILL')
    await endsWithin(left, 5_000)
  }
}
