import { open, mkdir, readdir, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { TidemarkError } from '../../../errors.ts'
import { isAlive, parseIdentity, thisProcess, type ProcessIdentity } from './process-identity.ts'
import { isMissing, readIfThere } from './small-file.ts'

/** A holder writes its name at once after making the file. One that did not for this long was killed between the two. */
const unnamedHolderMs = 2_000
/** Old generations are kept this long, so that a slow contender always finds one above the number it wanted. */
const generationsKept = 16

/**
 * Runs `work` while no other process runs work under the same lock directory.
 *
 * The lock is a row of numbered files: whoever makes the next number with O_EXCL has it, allowed only once the newest one is released or its
 * holder is dead. The newest file is never removed, so two processes that break the same stale lock want the same number and one gets it.
 * Nothing but the death of the holder is needed to free it; a holder that is merely slow or frozen keeps it.
 *
 * Rejects with `EMBEDDED_FAILED` after `timeoutMs`, naming the holder.
 */
export async function withLock<T>(directory: string, timeoutMs: number, work: () => Promise<T>): Promise<T> {
  const generation = await take(directory, timeoutMs)
  try {
    return await work()
  } finally {
    await release(directory, generation)
  }
}

async function take(directory: string, timeoutMs: number): Promise<number> {
  const deadline = performance.now() + timeoutMs
  for (;;) {
    await mkdir(directory, { recursive: true })
    const newest = await newestGeneration(directory)
    const holder = newest === 0 ? 'free' : await holderOf(directory, newest)
    if (holder === 'free') {
      if (await claim(directory, newest + 1)) return newest + 1
      continue
    }
    if (performance.now() > deadline) throw heldTooLong(directory, holder, timeoutMs)
    await delay(10 + Math.random() * 30)
  }
}

/** Makes the file of a generation. `false` when another process has it, or already stands above it. */
async function claim(directory: string, generation: number): Promise<boolean> {
  const path = join(directory, String(generation))
  try {
    const file = await open(path, 'wx', 0o644)
    try {
      await file.writeFile(JSON.stringify(thisProcess()))
    } finally {
      await file.close()
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST' || isMissing(error)) return false
    throw error
  }
  // We may have been slow: then the number was given, used and cleared away meanwhile, and the newest one stands above ours.
  if ((await newestGeneration(directory)) === generation) {
    await clearAway(directory, generation - generationsKept)
    return true
  }
  await rm(path, { force: true })
  return false
}

async function release(directory: string, generation: number): Promise<void> {
  try {
    await writeFile(join(directory, `${generation}.released`), '', { flag: 'wx' })
  } catch (error) {
    // No room for another file, say. An unnamed holder is taken for a dead one after a while, so this frees the lock too.
    if (!isMissing(error)) await truncate(join(directory, String(generation))).catch(() => undefined)
  }
}

async function newestGeneration(directory: string): Promise<number> {
  const names = await readdir(directory).catch(() => [])
  return Math.max(0, ...names.filter((name) => /^\d+$/.test(name)).map(Number))
}

async function holderOf(directory: string, generation: number): Promise<ProcessIdentity | 'free' | 'unnamed'> {
  if ((await readIfThere(join(directory, `${generation}.released`))) !== null) return 'free'
  const path = join(directory, String(generation))
  const text = await readIfThere(path)
  if (text === null) return 'unnamed'
  const holder = parseIdentity(text)
  if (holder !== null) return isAlive(holder) ? holder : 'free'
  const madeAt = await stat(path).then((file) => file.mtimeMs, Date.now)
  return Date.now() - madeAt > unnamedHolderMs ? 'free' : 'unnamed'
}

async function clearAway(directory: string, upTo: number): Promise<void> {
  if (upTo < 1) return
  for (const name of await readdir(directory)) {
    if (Number.parseInt(name, 10) <= upTo) await rm(join(directory, name), { force: true })
  }
}

function heldTooLong(directory: string, holder: ProcessIdentity | 'unnamed', timeoutMs: number): TidemarkError {
  const who = holder === 'unnamed' ? 'a process that did not write its number yet' : `the running process ${holder.pid}`
  return new TidemarkError('EMBEDDED_FAILED', `The lock ${directory} was held by ${who} for ${timeoutMs / 1_000} s.`, {
    details: { directory, ...(holder === 'unnamed' ? {} : { pid: holder.pid }) },
    remedy: 'It starts or stops the embedded Postgres server. If it hangs or is suspended, continue or end it and try again.',
  })
}
