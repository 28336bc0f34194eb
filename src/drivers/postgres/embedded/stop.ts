import { setTimeout as delay } from 'node:timers/promises'
import { TidemarkError } from '../../../errors.ts'
import { findPostmaster } from './postmaster.ts'
import { isAlive, type ProcessIdentity } from './process-identity.ts'

/** `fast` rolls back what is open and writes everything out; `immediate` is a crash with recovery at the next start. */
export type StopMode = 'fast' | 'immediate'

const signalOf = { fast: 'SIGINT', immediate: 'SIGQUIT' } as const
/** A fast stop writes up to `shared_buffers` to disk. Past this the server is ended at once, which loses nothing but the time to recover. */
const fastStopMs = 20_000
const immediateStopMs = 10_000

/** Stops the server of a data directory and waits for its end. Nothing happens where none runs. */
export async function stopServer(data: string, mode: StopMode): Promise<void> {
  const postmaster = await findPostmaster(data)
  if (postmaster === null) return
  if (mode === 'fast' && process.platform !== 'win32') {
    signal(postmaster, signalOf.fast)
    if (await endsWithin(postmaster, fastStopMs)) return
  }
  // Windows has no such signals between processes: there kill ends the server at once, and it recovers at the next start.
  signal(postmaster, signalOf.immediate)
  if (await endsWithin(postmaster, immediateStopMs)) return
  throw new TidemarkError('EMBEDDED_FAILED', `The embedded Postgres server, process ${postmaster.pid}, did not stop when asked to.`, {
    details: { pid: postmaster.pid, data },
    remedy: 'End that process, then try again.',
  })
}

/** Waits until a process is gone. `false` when it was still there in the end. */
export async function endsWithin(identity: ProcessIdentity, timeoutMs: number): Promise<boolean> {
  const deadline = performance.now() + timeoutMs
  while (isAlive(identity)) {
    if (performance.now() > deadline) return false
    await delay(10)
  }
  return true
}

export function signal(identity: ProcessIdentity, name: NodeJS.Signals): void {
  if (!isAlive(identity)) return
  try {
    process.kill(identity.pid, name)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
