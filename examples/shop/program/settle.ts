import { setTimeout as sleep } from 'node:timers/promises'
import { settled, TidemarkError } from 'tidemark'
import { servicesOf, type Shop } from '../shop.ts'
import { countsOf, statusesOf } from './counts.ts'
import { passes } from './persistence.ts'
import type { Progress } from './progress.ts'
import { exitCodes, ShopError } from './shop-error.ts'

/** Settling goes on as long as anything moves; a standstill of this length is a failure, not a slow machine. */
const standstillMs = 60_000
/** How long one try waits before it looks whether anything has moved. */
const tryMs = 1_000

export interface SettleOptions {
  readonly progress: Progress
  readonly signal: AbortSignal
  /** @default 60,000 ms */
  readonly standstillMs?: number
  /** @default 1,000 ms */
  readonly tryMs?: number
}

/**
 * Waits until nothing is on its way any more between the services, as long as that takes while anything moves. Rejects with the signal's reason,
 * whatever else happens meanwhile, or with exit code 1 after a standstill, which says how long it waited and for what.
 */
export async function settleShop(shop: Shop, options: SettleOptions): Promise<void> {
  const { progress, signal } = options
  const begun = performance.now()
  let seen = ''
  let movedAt = begun
  for (;;) {
    try {
      return await settled(servicesOf(shop), { timeoutMs: options.tryMs ?? tryMs, signal })
    } catch (error) {
      signal.throwIfAborted()
      if (!passes(error)) throw error
      const statuses = await statusesOf(shop).catch(() => [])
      signal.throwIfAborted()
      const handled = statuses.map((status) => countsOf(status).handled)
      const now = performance.now()
      if (handled.join() !== seen) movedAt = now
      else if (now - movedAt > (options.standstillMs ?? standstillMs)) throw standstill(error, now - movedAt, now - begun)
      seen = handled.join()
      progress.update(() => `settling: ${statuses.map(({ name }, i) => `${name} ${handled[i]}`).join(', ')}`)
      await sleep(20, undefined, { signal })
    }
  }
}

function standstill(error: unknown, stillMs: number, waitedMs: number): ShopError {
  return new ShopError(
    TidemarkError.is(error) ? error.code : 'STANDSTILL',
    exitCodes.failed,
    `Waited ${seconds(waitedMs)} for the services to settle, and nothing has been handled for the last ${seconds(stillMs)}. ${whatWaits(error)}`,
    'Look for a stopped consumer or a blocked key: the table tidemark.dead_letter of each service, and tidemark outbox parked.',
    { cause: error },
  )
}

function whatWaits(error: unknown): string {
  const waiting = TidemarkError.is(error, 'SETTLE_TIMEOUT') ? error.details['waiting'] : null
  return Array.isArray(waiting) ? `Still on its way: ${waiting.join('; ')}.` : `The last look failed: ${String(error)}`
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`
}
