import { createHash, randomUUID } from 'node:crypto'
import { readlinkSync } from 'node:fs'
import { chmod, lstat, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Home } from './home.ts'
import { orphansOf } from './postmaster.ts'
import { readIfThere, writeWhole } from './small-file.ts'
import { signal, stopServer } from './stop.ts'

/** /var/lib first: nobody else may write there, and unlike /var/tmp it is not cleared of old files. */
const parents = ['/var/lib/tidemark', '/var/tmp', tmpdir()]

/**
 * A directory outside the home, for what the server's user cannot reach inside it (root's own home, or a directory with mode 0700). The home
 * records it in place.json, the place names its home in owner.json, and both carry the same random id.
 */
export interface Place {
  readonly id: string
  readonly directory: string
  /** Is the data directory in it too, or only a copy of the programs? */
  readonly holdsData: boolean
}

interface Owner {
  readonly id: string
  readonly home: string
  readonly namespace: string
}

/** The place this home recorded, if it still is one that only root can have made and changed; else `null`. */
export async function recordedPlace(home: Home): Promise<Place | null> {
  const place = parse<Place>(await readIfThere(home.place))
  if (place === null || !(await isOurs(place.directory))) return null
  const owner = parse<Owner>(await readIfThere(join(place.directory, 'owner.json')))
  if (owner?.id !== place.id) return null
  if (owner.home === home.directory) return place
  // A copied home must not share its original's data; a moved one takes it along.
  const original = parse<Place>(await readIfThere(join(owner.home, 'place.json')))
  if (original?.id === place.id) return null
  await writeOwner(place, home)
  return place
}

/** Makes a place, or widens the recorded one, and records it. What an earlier home at the same path left behind is removed. */
export async function makePlace(home: Home, holdsData: boolean): Promise<Place> {
  const recorded = await recordedPlace(home)
  if (recorded !== null && recorded.holdsData === holdsData) return recorded
  const place = { ...(recorded ?? { id: randomUUID(), directory: await makeDirectory(home) }), holdsData }
  await writeOwner(place, home)
  await writeWhole(home.place, JSON.stringify(place), 0o644)
  return place
}

export async function removePlace(home: Home): Promise<void> {
  const place = await recordedPlace(home)
  if (place !== null) await rm(place.directory, { recursive: true, force: true, maxRetries: 3 })
}

async function makeDirectory(home: Home): Promise<string> {
  const prefix = `${createHash('sha256').update(home.directory).digest('hex').slice(0, 16)}-`
  let failure: unknown
  for (const parent of parents) {
    const start = parent.endsWith('tidemark') ? prefix : `tidemark-${prefix}`
    try {
      if (parent.endsWith('tidemark')) await mkdir(parent, { mode: 0o755 }).catch(ifThere)
      await sweep(parent, start, home)
      // The random end of the name leaves nothing for others to prepare in a directory that all may write.
      const directory = await mkdtemp(join(parent, start))
      await chmod(directory, 0o711)
      return directory
    } catch (error) {
      failure = error
    }
  }
  throw failure
}

/** Removes places of homes that were at this path before and are gone (the project was deleted), with a server still running in them. */
async function sweep(parent: string, start: string, home: Home): Promise<void> {
  const current = parse<Place>(await readIfThere(home.place))
  for (const name of (await readdir(parent)).filter((entry) => entry.startsWith(start))) {
    const directory = join(parent, name)
    if (!(await isOurs(directory))) continue
    const owner = parse<Owner>(await readIfThere(join(directory, 'owner.json')))
    // In another pid namespace a server may run there that we cannot see.
    if (owner?.home !== home.directory || owner.namespace !== pidNamespace() || owner.id === current?.id) continue
    await stopServer(join(directory, 'data'), 'immediate')
    for (const orphan of orphansOf(join(directory, 'data'))) signal(orphan, 'SIGKILL')
    await rm(directory, { recursive: true, force: true, maxRetries: 3 })
  }
}

async function isOurs(directory: string): Promise<boolean> {
  const found = await lstat(directory).catch(() => null)
  return found !== null && found.isDirectory() && found.uid === (process.getuid?.() ?? 0) && (found.mode & 0o022) === 0
}

async function writeOwner(place: Place, home: Home): Promise<void> {
  const owner: Owner = { id: place.id, home: home.directory, namespace: pidNamespace() }
  await writeWhole(join(place.directory, 'owner.json'), JSON.stringify(owner), 0o644)
}

function pidNamespace(): string {
  try {
    return readlinkSync('/proc/self/ns/pid')
  } catch {
    return ''
  }
}

function ifThere(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EEXIST') throw error
}

function parse<T>(text: string | null): T | null {
  try {
    return text === null ? null : (JSON.parse(text) as T)
  } catch {
    return null
  }
}
