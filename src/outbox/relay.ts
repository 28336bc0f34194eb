import { TidemarkError } from '../errors.ts'
import { type Clock, systemClock } from '../internal/clock.ts'
import { uuidv7 } from '../internal/uuid.ts'
import type { Broker, TopicSpec } from '../message/port.ts'
import type { MaintenanceEvent, OutboxStore } from './port.ts'
import { type RelayNotice } from './relay-machine.ts'
import { RelayRun } from './relay-run.ts'

export interface RelayOptions {
  readonly store: OutboxStore
  readonly broker: Broker
  /** Which of the store's streams. @default 0 */
  readonly stream?: number
  /** Most rows of a page, and so of one append. @default 1,000 */
  readonly pageSize?: number
  /** Longest rest between two looks into the table when nothing comes: the latency of what other processes publish. @default 50 ms */
  readonly idleMs?: number
  /**
   * Another relay leaves this one's stream alone until it was silent for so long, by the database's clock; a clean stop gives it up at once.
   * Too short, and a busy owner is superseded: harmless, but repeats are sent. @default 10,000 ms
   */
  readonly leaseMs?: number
  /** A superseded relay waits for its turn, or ends with `RELAY_FENCED`. @default 'stand-by' */
  readonly whenFenced?: 'stand-by' | 'stop'
  /** Topics to make with other than the broker's defaults. Topics that are not listed are made when their first message comes. */
  readonly topics?: readonly TopicSpec[]
  /** Make partitions of the outbox ahead and drop old ones, where the store has them. @default true */
  readonly maintain?: boolean
  readonly onEvent?: (event: RelayOccurrence) => void
  readonly clock?: Clock
}

/** What a relay reports. */
export type RelayOccurrence = RelayNotice | MaintenanceEvent

/** A running relay. */
export interface Relay {
  /**
   * Publishes what is committed by now, and gives everything back. A broker that does not answer for 5 seconds is waited for no longer: what it did not
   * take stays in the outbox, and the next relay sends it.
   */
  stop(): Promise<void>
  /** Resolves after `stop`. Rejects with what ended the relay: `RELAY_RESTORED_DATABASE`, `RELAY_FENCED`, a wrong setting. */
  readonly done: Promise<void>
  /** Something was committed: look now. Cheap, may be called for every transaction. */
  wake(): void
  status(): RelayStatus
  [Symbol.asyncDispose](): Promise<void>
}

export interface RelayStatus {
  readonly phase: 'starting' | 'owner' | 'stand-by' | 'retrying' | 'stopped'
  readonly epoch: number | null
  /** The last tick published or under way. */
  readonly tick: number | null
  /** Messages sent by this relay, repeats included. */
  readonly published: number
  /** Why it retries, or has ended. */
  readonly error: unknown
}

/**
 * Runs the polling relay of one stream until stopped: every committed row of the outbox is published at least once, in commit order within its
 * key, with a coordinate that tells repeats apart. A committed row is never lost, one rolled back is never sent.
 *
 * Several processes may run it for the same stream: one works, the others stand by. Errors of database and broker are retried for ever, with a
 * growing pause; a restored database ends it before anything is sent.
 */
export function runRelay(options: RelayOptions): Relay {
  const run = new RelayRun({ ...withDefaults(options), owner: uuidv7() })
  const done = run.run()
  // Whoever does not look at `done` sees the end in `status()` and `onEvent`.
  done.catch(() => undefined)
  const stop = async (): Promise<void> => {
    run.stop()
    await done.catch(() => undefined)
  }
  return { stop, done, wake: () => run.wake(), status: () => run.status(), [Symbol.asyncDispose]: stop }
}

/** All settings, given or by default. */
export type RelaySettings = Required<RelayOptions> & { readonly owner: string }

function withDefaults(options: RelayOptions): Required<RelayOptions> {
  const settings = {
    stream: 0,
    pageSize: 1_000,
    idleMs: 50,
    leaseMs: 10_000,
    whenFenced: 'stand-by' as const,
    topics: [],
    maintain: true,
    onEvent: () => undefined,
    clock: systemClock,
    ...options,
  }
  for (const name of ['pageSize', 'idleMs', 'leaseMs'] as const) {
    if (Number.isInteger(settings[name]) && settings[name] > 0) continue
    throw new TidemarkError('CONFIG_INVALID', `${name}: expected a whole number above 0, got ${String(settings[name])}.`)
  }
  return settings
}
