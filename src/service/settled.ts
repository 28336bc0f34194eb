import { setTimeout as sleep } from 'node:timers/promises'
import { TidemarkError } from '../errors.ts'

/** One look at what is on its way through a service. */
export interface Flow {
  /** Nothing waits in its outbox, and its groups have handled all that their topics hold. */
  readonly quiet: boolean
  /** Changes whenever anything was published or handled; for two looks at one service. */
  readonly mark: string
  /** What is still on its way, for people. */
  readonly waiting: string
}

/** Something whose flow can be looked at. */
export interface Flowing {
  readonly name: string
  flow(): Promise<Flow>
}

export interface SettledOptions {
  /** Reject with `SETTLE_TIMEOUT` after this long. @default 60,000 ms */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
}

/**
 * Resolves when nothing is on its way any more between all these services: outboxes published, topics handled, also what handlers published.
 *
 * Exact, not a guess: two looks in a row at all services must find all of them quiet and nothing changed in between, so that at some moment
 * between the looks everything was quiet at once (the double count of Mattern's termination detection). Publishers outside handlers are the
 * caller's to stop. Rejects with `SETTLE_TIMEOUT`, which names what was still on its way, or with the reason of the signal.
 */
export async function settled(services: readonly Flowing[], options: SettledOptions = {}): Promise<void> {
  const { timeoutMs = 60_000, signal } = options
  const begun = performance.now()
  let before: string | null = null
  for (;;) {
    signal?.throwIfAborted()
    const flows: Flow[] = []
    // One after the other: the second look must begin after the first one has ended.
    for (const service of services) flows.push(await service.flow())
    const mark = flows.every((flow) => flow.quiet) ? flows.map((flow) => flow.mark).join('|') : null
    if (mark !== null && mark === before) return
    before = mark
    if (mark === null) {
      // Whoever has given up waiting must not be told that it took too long.
      signal?.throwIfAborted()
      if (performance.now() - begun > timeoutMs) throw timeOut(services, flows, performance.now() - begun)
      await sleep(2)
    }
  }
}

function timeOut(services: readonly Flowing[], flows: readonly Flow[], waitedMs: number): TidemarkError {
  const waiting = services.flatMap(({ name }, i) => (flows[i]!.quiet ? [] : [`${name}: ${flows[i]!.waiting}`]))
  return new TidemarkError('SETTLE_TIMEOUT', `Not settled after ${Math.round(waitedMs)} ms: ${waiting.join('; ')}.`, {
    details: { waiting },
    remedy: 'Look for a stopped consumer, a blocked key, or a publisher that goes on.',
  })
}
