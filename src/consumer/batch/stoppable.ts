import { deferred } from '../../internal/deferred.ts'

/** A run of handlers that may be told to stop. */
export interface Stoppable {
  /** What its handlers are told by. */
  readonly run: AbortController
  /** Resolves when nobody waits for them any more: a handler may wait for ever. */
  readonly gone: Promise<'gone'>
}

/** Does work that is given up when `signal` aborts. */
export async function untilStopped<T>(signal: AbortSignal, work: (stoppable: Stoppable) => Promise<T>): Promise<T> {
  const run = new AbortController()
  const gone = deferred<'gone'>()
  const abort = (): void => {
    run.abort()
    gone.resolve('gone')
  }
  signal.addEventListener('abort', abort, { once: true })
  if (signal.aborted) abort()
  try {
    return await work({ run, gone: gone.promise })
  } finally {
    signal.removeEventListener('abort', abort)
  }
}
