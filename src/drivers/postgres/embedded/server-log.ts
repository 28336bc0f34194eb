import { constants } from 'node:fs'
import { copyFile, open, rename, stat, truncate, type FileHandle } from 'node:fs/promises'

/** One older log is kept, so the two together stay below about twice this. */
const largestLogBytes = 16 * 1024 * 1024

/** Opens the log for a server that starts: appended to, so that it may be cut while the server writes. A large one is put aside first. */
export async function openLog(path: string): Promise<FileHandle> {
  if ((await sizeOf(path)) > largestLogBytes) await rename(path, `${path}.1`)
  return open(path, constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | (constants.O_NOFOLLOW ?? 0), 0o600)
}

/** Cuts the log of a running server when it has grown large. Lines written in this very moment may be lost. */
export async function boundLog(path: string): Promise<void> {
  if ((await sizeOf(path)) <= largestLogBytes) return
  await copyFile(path, `${path}.1`)
  await truncate(path)
}

export async function sizeOf(path: string): Promise<number> {
  return stat(path).then(
    (file) => file.size,
    () => 0,
  )
}

/** The last lines written at or after `from`, at most 4,000 characters. */
export async function logTail(path: string, from: number): Promise<string> {
  const file = await open(path, 'r').catch(() => null)
  if (file === null) return ''
  try {
    const { size } = await file.stat()
    const start = Math.max(Math.min(from, size), size - 4_000)
    const { buffer, bytesRead } = await file.read(Buffer.alloc(size - start), 0, size - start, start)
    return buffer.toString('utf8', 0, bytesRead).trim().split('\n').slice(-20).join('\n')
  } finally {
    await file.close()
  }
}
