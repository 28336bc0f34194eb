import { randomUUID } from 'node:crypto'
import { TidemarkError } from '../../errors.ts'
import { type Clock, pause, systemClock } from '../../internal/clock.ts'
import { channels } from '../../telemetry/channels.ts'
import type { LetterQueries } from '../port.ts'
import { type AlertSettings, alertStep, defaultAlertSettings } from './alert-machine.ts'
import { type Notify, noticeOf } from './notice.ts'
import type { AlertStore, Contact } from './port.ts'

export interface WatchOptions {
  readonly letters: Pick<LetterQueries, 'byGroup'>
  readonly store: AlertStore
  readonly notify: Notify
  readonly settings?: Partial<AlertSettings>
  /** Between two looks. @default 10,000 ms */
  readonly everyMs?: number
  /** @default this process's clock */
  readonly clock?: Clock
}

/** A running watch. */
export interface LetterWatch {
  /** Ends it after the look under way, and gives the watch to others. A second call waits for the first. */
  stop(): Promise<void>
}

/**
 * Looks at the dead letters again and again, and tells somebody what is new. Of many processes one does; when it dies another one follows. What was said is
 * noted right after it was said, so it is said once, but for a crash between the two. A notice that could not be sent is tried again at the next look.
 */
export function watchLetters(options: WatchOptions): LetterWatch {
  const { clock = systemClock, everyMs = 10_000 } = options
  const holder = randomUUID()
  const stopping = new AbortController()
  const { signal } = stopping
  const loop = async (): Promise<void> => {
    while (!signal.aborted) {
      await look(options, holder, everyMs * 3, signal).catch(tellTrouble)
      await pause(clock, everyMs, signal)
    }
    await options.store.endWatch(holder).catch(tellTrouble)
  }
  const done = loop()
  return {
    stop: () => {
      stopping.abort()
      return done
    },
  }
}

/** One look. */
async function look(options: WatchOptions, holder: string, leaseMs: number, signal: AbortSignal): Promise<void> {
  const { letters, store, notify, clock = systemClock } = options
  const settings = { ...defaultAlertSettings, ...options.settings }
  if (!(await store.watch(holder, leaseMs))) return
  const now = clock.now()
  const found = new Map((await letters.byGroup(new Date(now - settings.windowMs))).map((one) => [one.group, one]))
  const said = await store.alerts()
  const contacts = new Map((await store.contacts()).map((contact) => [contact.group, contact]))
  for (const group of new Set([...said.keys(), ...found.keys()])) {
    if (signal.aborted) return
    const standing = found.get(group) ?? null
    const before = said.get(group) ?? null
    const { say, state } = alertStep(before, standing, now, settings)
    const contact: Contact = contacts.get(group) ?? { group, owner: null, runbook: null }
    try {
      for (const kind of say) await notify(noticeOf(kind, contact, standing, now, settings))
    } catch (error) {
      // One group's notices must not keep those of the others.
      tellTrouble(error)
      continue
    }
    if (JSON.stringify(state) === JSON.stringify(before)) continue
    if (!(await store.saveAlert(holder, group, state))) return
    // A notifier may have taken long.
    if (say.length > 0 && !(await store.watch(holder, leaseMs))) return
  }
}

function tellTrouble(error: unknown): void {
  // Only what is ours is known to hold no secret.
  channels.alertTrouble.publish({ error: TidemarkError.is(error) ? error.message : error instanceof Error ? error.name : typeof error })
}
