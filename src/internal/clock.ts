/**
 * The one source of time and chance for everything that loops, waits or retries. A simulation passes its own and owns the schedule.
 */
export interface Clock {
  /** Milliseconds since 1970, as the wall clock shows them. */
  now(): number
  /** Milliseconds since some moment; never goes back. For durations. */
  elapsed(): number
  /** Calls `fn` once, after at least `ms`. Returns what takes it back; calling that late or twice changes nothing. */
  after(ms: number, fn: () => void): () => void
  /** From 0 up to, not including, 1. */
  random(): number
}

/** The clock of this process. Its timers keep the process alive. */
export const systemClock: Clock = {
  now: Date.now,
  elapsed: () => performance.now(),
  after(ms, fn) {
    const timer = setTimeout(fn, ms)
    return () => clearTimeout(timer)
  },
  random: Math.random,
}

/** Resolves after `ms`, or at once when `signal` aborts. Never rejects. */
export function pause(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted === true) return Promise.resolve()
  return new Promise((resolve) => {
    const end = (): void => {
      cancel()
      signal?.removeEventListener('abort', end)
      resolve()
    }
    const cancel = clock.after(ms, end)
    signal?.addEventListener('abort', end, { once: true })
  })
}

/** Waits for the promise, but no longer than `ms`: did it end by then? Rejects as it does. What becomes of it later is the caller's to mind. */
export async function within(clock: Clock, ms: number, promise: Promise<unknown>): Promise<boolean> {
  let cancel = (): void => undefined
  const over = new Promise<boolean>((resolve) => (cancel = clock.after(ms, () => resolve(false))))
  try {
    return await Promise.race([promise.then(() => true), over])
  } finally {
    cancel()
  }
}
