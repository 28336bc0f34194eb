/** What schedules are to be full of. */
export const happenings = [
  'parked',
  'queued',
  'retried',
  'retried together',
  'failed again',
  'buried',
  'buried by a retrier',
  'redriven',
  'edited',
  'discarded',
  'away',
  'one of them away',
  'schemas away',
  'breaker opened',
  'passed on',
  'asked for later',
  'timed out',
  'ended by a handler',
  'blamed for a crash',
  'marked',
  'released while a lane appended',
  'lease lost',
  'fenced or held',
] as const

export type Happening = (typeof happenings)[number]

/** How often each has happened. */
export type Coverage = Readonly<Record<Happening, number>>

export class Counts {
  readonly #counts = new Map<Happening, number>(happenings.map((what) => [what, 0]))

  count(what: Happening): void {
    this.#counts.set(what, this.#counts.get(what)! + 1)
  }

  get all(): Coverage {
    return Object.fromEntries(this.#counts) as Coverage
  }
}
