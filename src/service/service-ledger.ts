import { type Ledger, type LedgerStore, forgetCalls, ledger } from '../inbox/index.ts'
import { currentGroup } from '../message/ambient.ts'
import { pause, systemClock } from '../internal/clock.ts'
import { channels } from '../telemetry/channels.ts'

/** A service's ledger, before the service is open: the first use opens it. `has`: is this one of the groups of the service? */
export function lazyLedger(scope: string, has: (group: string) => boolean, store: () => Promise<LedgerStore>): Ledger {
  return ledger({
    scope,
    // A handler of another service in this process is nobody of ours.
    runningGroup: () => {
      const group = currentGroup()
      return group !== undefined && has(group) ? group : undefined
    },
    store: {
      begin: async (...given) => (await store()).begin(...given),
      change: async (...given) => (await store()).change(...given),
      remove: async (...given) => (await store()).remove(...given),
      forget: async (...given) => (await store()).forget(...given),
      counts: async () => (await store()).counts(),
    },
  })
}

/** Between two looks for what has expired. Entries are kept for days; a minute more does not matter. */
const everyMs = 60_000

/** Removes expired calls now and then until it is stopped. Trouble is told on the diagnostics channel, and tried again. */
export function keepForgetting(service: string, store: LedgerStore): { stop(): Promise<void> } {
  const stopping = new AbortController()
  const { signal } = stopping
  const loop = async (): Promise<void> => {
    while (!signal.aborted) {
      await forgetCalls({ store }, signal).catch((error: unknown) => {
        channels.ledgerTrouble.publish({ service, error: error instanceof Error ? error.message : String(error) })
      })
      await pause(systemClock, everyMs, signal)
    }
  }
  const done = loop()
  return {
    stop: () => {
      stopping.abort()
      return done
    },
  }
}
