import { randomUUID } from 'node:crypto'
import { TidemarkError } from '../../errors.ts'
import { type Clock, pause, systemClock, within } from '../../internal/clock.ts'
import { channels } from '../../telemetry/channels.ts'
import type { GroupLetters, LetterQueries } from '../port.ts'
import { type AlertSettings, type AlertState, alertStep, defaultAlertSettings, newKinds } from './alert-machine.ts'
import { type Notify, noticeOf } from './notice.ts'
import type { AlertStore, Contact } from './port.ts'

export interface WatchOptions {
  readonly letters: Pick<LetterQueries, 'byGroup' | 'groups'>
  readonly store: AlertStore
  readonly notify: Notify
  readonly settings?: Partial<AlertSettings>
  /** Between two looks. @default 10,000 ms */
  readonly everyMs?: number
  /** A notifier that takes longer counts as one that failed; the watch stays with this process meanwhile. @default 60,000 ms */
  readonly notifyTimeoutMs?: number
  /** @default this process's clock */
  readonly clock?: Clock
}

const defaultEveryMs = 10_000

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
  const { clock = systemClock, everyMs = defaultEveryMs } = options
  const hold = new Hold(options)
  const stopping = new AbortController()
  const { signal } = stopping
  const loop = async (): Promise<void> => {
    while (!signal.aborted) {
      await look(options, hold, signal).catch(tellTrouble)
      await pause(clock, everyMs, signal)
    }
    await hold.end().catch(tellTrouble)
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
async function look(options: WatchOptions, hold: Hold, signal: AbortSignal): Promise<void> {
  const { letters, store, clock = systemClock } = options
  const settings = { ...defaultAlertSettings, ...options.settings }
  if (!(await hold.renew())) return
  const now = clock.now()
  const found = new Map((await letters.byGroup(new Date(now - settings.windowMs))).map((one) => [one.group, one]))
  const said = await store.alerts()
  const contacts = new Map((await store.contacts()).map((contact) => [contact.group, contact]))
  for (const group of new Set([...said.keys(), ...found.keys()])) {
    if (signal.aborted) return
    const contact: Contact = contacts.get(group) ?? { group, owner: null, runbook: null }
    const standing = { letters: found.get(group) ?? null, now, before: said.get(group) ?? null }
    try {
      if (!(await tellGroup(options, hold, contact, standing, settings))) return
    } catch (error) {
      // One group's notices must not keep those of the others.
      tellTrouble(error)
    }
  }
}

interface Found {
  readonly letters: GroupLetters | null
  readonly before: AlertState | null
  readonly now: number
}

/** Says what is to be said of one group, and notes each notice right after it: if the second one fails, the first is not said again. `false`: the watch is lost. */
async function tellGroup(options: WatchOptions, hold: Hold, contact: Contact, found: Found, settings: AlertSettings): Promise<boolean> {
  const { letters: queries, store } = options
  const { letters, before, now } = found
  const { group } = contact
  const { say, state: end } = alertStep(before, letters, now, settings)
  let noted = before
  for (const { kind, state } of say) {
    const fingerprints = kind === 'kind' && letters !== null ? newKinds(before, letters) : []
    const fresh = fingerprints.length === 0 ? [] : await queries.groups({ groups: [group], fingerprints }, mostShown)
    const notice = noticeOf(kind, contact, { letters, fresh, now }, settings)
    if (!(await hold.during(() => options.notify(notice)))) return false
    if (!(await store.saveAlert(hold.holder, group, state))) return false
    noted = state
  }
  return JSON.stringify(end) === JSON.stringify(noted) || store.saveAlert(hold.holder, group, end)
}

/** Kinds that one notice describes. */
const mostShown = 5

/** The watch of this process, kept while a notifier takes its time. */
class Hold {
  readonly holder = randomUUID()
  readonly #store: AlertStore
  readonly #clock: Clock
  readonly #leaseMs: number
  readonly #mostMs: number

  constructor({ store, clock = systemClock, everyMs = defaultEveryMs, notifyTimeoutMs = 60_000 }: WatchOptions) {
    this.#store = store
    this.#clock = clock
    this.#leaseMs = everyMs * 3
    this.#mostMs = notifyTimeoutMs
  }

  /** `false`: somebody else has it. */
  renew(): Promise<boolean> {
    return this.#store.watch(this.holder, this.#leaseMs)
  }

  end(): Promise<void> {
    return this.#store.endWatch(this.holder)
  }

  /** Renews it before `notify` and all the while. `false`: it was lost before, and nothing was said. Rejects as `notify` does, and when that takes too long. */
  async during(notify: () => void | Promise<void>): Promise<boolean> {
    if (!(await this.renew())) return false
    const stop = this.#beat()
    try {
      const told = Promise.resolve(notify())
      if (await within(this.#clock, this.#mostMs, told)) return true
    } finally {
      stop()
    }
    throw new TidemarkError('NOTICE_NOT_SENT', `The notifier did not end within ${this.#mostMs} ms.`)
  }

  #beat(): () => void {
    let cancel = (): void => undefined
    let isOver = false
    const next = (): void => {
      cancel = this.#clock.after(this.#leaseMs / 3, () => {
        // A beat that fails is made good by the next one; if none is, `saveAlert` says that the watch is lost.
        void this.renew()
          .catch(() => undefined)
          .then(() => (isOver ? undefined : next()))
      })
    }
    next()
    return () => {
      isOver = true
      cancel()
    }
  }
}

function tellTrouble(error: unknown): void {
  // Only what is ours is known to hold no secret.
  channels.alertTrouble.publish({ error: TidemarkError.is(error) ? error.message : error instanceof Error ? error.name : typeof error })
}
