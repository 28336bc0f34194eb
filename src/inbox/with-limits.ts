import type { Clock } from '../internal/clock.ts'

export interface CallLimits {
  /** The call's signal aborts after this long. @default 30,000 ms */
  readonly timeoutMs: number
  /** The handler's: a call whose message is given up is not worth waiting for. @default none */
  readonly signal: AbortSignal
}

/** Runs `call` with a signal, and rejects with the signal's reason when it aborts, whether `call` minds it or not. */
export async function withLimits<T>(
  clock: Clock,
  { timeoutMs, signal }: CallLimits,
  call: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const timer = new AbortController()
  const cancel = clock.after(timeoutMs, () => timer.abort(new DOMException(`The call did not end within ${timeoutMs} ms.`, 'TimeoutError')))
  const limit = AbortSignal.any([signal, timer.signal])
  let over = (): void => undefined
  const aborted = new Promise<never>((_, reject) => {
    over = () => reject(limit.reason as Error)
    if (limit.aborted) over()
    else limit.addEventListener('abort', over, { once: true })
  })
  try {
    // What becomes of a call that was given up is nobody's concern any more; the race has taken its rejection.
    return await Promise.race([aborted, call(limit)])
  } finally {
    cancel()
    limit.removeEventListener('abort', over)
  }
}
