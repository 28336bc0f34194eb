import { setTimeout as sleep } from 'node:timers/promises'
import { TidemarkError } from 'tidemark'

export interface Patience {
  readonly signal: AbortSignal
  /** Give up when it failed for this long. @default 60,000 ms, more than a killed server needs to recover */
  readonly patienceMs?: number
  /** Told once per outage. */
  readonly onOutage?: (error: unknown) => void
}

/** Does something again while it fails only because the database or the log is away or busy. Only for what may be done twice. */
export async function persistently<T>(work: () => Promise<T>, { signal, patienceMs = 60_000, onOutage }: Patience): Promise<T> {
  const begun = performance.now()
  for (let attempt = 1; ; attempt++) {
    signal.throwIfAborted()
    try {
      return await work()
    } catch (error) {
      if (!passes(error) || performance.now() - begun > patienceMs) throw error
      if (attempt === 1) onOutage?.(error)
      await sleep(Math.min(20 * 2 ** attempt, 1_000), undefined, { signal })
    }
  }
}

/** Will this failure pass by itself? */
export function passes(error: unknown): boolean {
  if (TidemarkError.is(error)) return error.retryable
  // A statement outside a transaction may report the broken connection as Node or Postgres does.
  const { code = '', message = '' } = (error ?? {}) as { code?: unknown; message?: string }
  return /^(ECONN|EPIPE|ETIMEDOUT|57P0|08|53300)/.test(String(code)) || /Connection terminated|not queryable/.test(message)
}

/** What an outage looks like to people. */
export function outageText(error: unknown): string {
  const what = TidemarkError.is(error) && error.code.startsWith('BROKER') ? 'Kafka' : 'the database'
  return `Waiting for ${what}: ${error instanceof Error ? error.message : String(error)}`
}
