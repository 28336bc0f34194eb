import { TidemarkError } from '../../errors.ts'
import { backoffMs } from '../../internal/backoff.ts'
import { type Clock, pause, systemClock } from '../../internal/clock.ts'
import type { Notify } from './notice.ts'

export interface WebhookOptions {
  /** Gets a `POST` with the notice as JSON. */
  readonly url: string
  /** Added to those of the request, a token for example. Never shown. */
  readonly headers?: Readonly<Record<string, string>>
  /** Of one try. @default 5,000 ms */
  readonly timeoutMs?: number
  /** Tries in all, with growing pauses. @default 4 */
  readonly attempts?: number
  /** Before the second try; doubles, and is shortened by chance. @default 500 ms */
  readonly firstPauseMs?: number
  /** @default this process's clock */
  readonly clock?: Clock
}

/**
 * Tells a web server. Any answer of the 200s means that it was told; 408, 429, the 500s, and no answer at all are tried again; others are not. A rejection
 * names the host and what came, never the path or a header: tokens stand in both.
 */
export function webhookNotifier(options: WebhookOptions): Notify {
  const { headers = {}, timeoutMs = 5_000, attempts = 4, firstPauseMs = 500, clock = systemClock } = options
  const url = checkedUrl(options.url)
  return async (notice) => {
    const body = JSON.stringify(notice)
    for (let failures = 1; ; failures++) {
      const trouble = await tried(url, { ...headers, 'content-type': 'application/json' }, body, timeoutMs)
      if (trouble === null) return
      if (trouble.final || failures >= attempts) throw notTold(url, trouble.what, failures)
      await pause(clock, backoffMs({ firstMs: firstPauseMs, maxMs: 30_000 }, failures, clock.random()))
    }
  }
}

interface Trouble {
  readonly what: string
  readonly final: boolean
}

async function tried(url: URL, headers: Readonly<Record<string, string>>, body: string, timeoutMs: number): Promise<Trouble | null> {
  try {
    // Redirects are not followed: a token would be sent to whoever is named there.
    const response = await fetch(url, { method: 'POST', headers, body, redirect: 'manual', signal: AbortSignal.timeout(timeoutMs) })
    // An unread body would keep its connection.
    await response.body?.cancel()
    if (response.ok) return null
    const again = response.status === 408 || response.status === 429 || response.status >= 500
    return { what: `it answered ${response.status}`, final: !again }
  } catch (error) {
    const isLate = error instanceof Error && error.name === 'TimeoutError'
    return { what: isLate ? `no answer within ${timeoutMs} ms` : 'no connection', final: false }
  }
}

function checkedUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : null
  if (url !== null && (url.username !== '' || url.password !== '')) {
    throw new TidemarkError('CONFIG_INVALID', 'webhookNotifier: expected a URL without a user and a password.', {
      remedy: 'Pass them as a header: headers: { authorization: … }.',
    })
  }
  if (url !== null && (url.protocol === 'http:' || url.protocol === 'https:')) return url
  throw new TidemarkError('CONFIG_INVALID', 'webhookNotifier: expected a URL that begins with https:// or http://.')
}

function notTold(url: URL, what: string, attempts: number): TidemarkError {
  return new TidemarkError('NOTICE_NOT_SENT', `The webhook at ${url.host} was not told: ${what}, after ${attempts} of its tries.`, {
    details: { host: url.host, attempts },
  })
}
