import type { Operation, OperationCounts, OperationSettings } from './operation.ts'

/** How long between two looks at how started items have ended, in milliseconds. */
export const lookMs = 500
/** In the middle of a stage the failure ratio says nothing before so many items were tried. At its end it always counts. */
export const leastTried = 20
/** A step takes the rest of its last group along, up to so many items; a larger group goes in several steps, one after the other. */
export const largestStep = 1_000
/** Seconds of the rate that may be used at once. */
const burstSeconds = 0.2

/** Where an operation stands, as its pace sees it. Times are of one clock that never goes back. */
export interface Pace {
  readonly settings: OperationSettings
  readonly total: number
  /** The first item that has no outcome yet. */
  readonly next: number
  readonly counts: OperationCounts
  readonly base: { readonly tried: number; readonly failed: number }
  /** The stage under way; from 0 on. */
  readonly stage: number
  /** Items that may be tried now. Below 0 after a group that was larger. */
  readonly tokens: number
  readonly filledAt: number
  /** Since when the end of a stage waits for its items to end. */
  readonly observedFrom: number | null
  readonly lookedAt: number
  /** The last look has not seen all of them. */
  readonly hasMoreToSee: boolean
}

/** What is to be done next. */
export type Decision =
  /** Try up to so many items. */
  | { readonly what: 'step'; readonly limit: number }
  /** See how started items have ended. */
  | { readonly what: 'look' }
  /** Nothing for so long. */
  | { readonly what: 'wait'; readonly ms: number }
  | { readonly what: 'end'; readonly as: 'done' }
  | { readonly what: 'end'; readonly as: 'failed'; readonly error: string }

/** Where a claimed operation stands. An earlier stage's end is looked at once more, which does no harm. */
export function paceOf(operation: Pick<Operation, 'settings' | 'total' | 'next' | 'counts' | 'base'>, now: number): Pace {
  const { settings, total, next, counts, base } = operation
  const ends = stageEnds(settings.canary, total)
  const stage = ends.findIndex((end) => end >= next)
  const fresh = { tokens: 0, filledAt: now, observedFrom: null, lookedAt: now - lookMs, hasMoreToSee: false }
  return { settings, total, next, counts, base, stage: stage === -1 ? ends.length - 1 : stage, ...fresh }
}

/**
 * Behind which item each stage ends: rising, the last one at the end.
 *
 * ```ts
 * stageEnds([0.01, 0.05, 0.2, 1], 1_000) // [10, 50, 200, 1000]
 * stageEnds([0.01, 0.05, 0.2, 1], 3)     // [1, 3]
 * ```
 */
export function stageEnds(canary: readonly number[], total: number): readonly number[] {
  const ends = canary.map((share) => Math.min(total, Math.ceil(total * share)))
  return [...new Set([...ends.filter((end) => end > 0), total])].sort((a, b) => a - b)
}

/** The next thing to do, and the state with the time that has passed. Called again after everything that was done. */
export function decide(before: Pace, now: number, stepItems: number): { readonly pace: Pace; readonly decision: Decision } {
  const pace = refilled(before, now)
  const ends = stageEnds(pace.settings.canary, pace.total)
  const end = ends[pace.stage]!
  const atEnd = pace.next >= end
  if (atEnd && pace.counts.started > 0) {
    const observed = { ...pace, observedFrom: pace.observedFrom ?? now }
    const left = observed.observedFrom + pace.settings.observeMs - now
    // What was started is in hand, however long it takes: its failures are told by the part that has ended.
    if (left > 0 && !failing(pace, leastTried)) return lookOrWait(observed, now, left)
  }
  if (failing(pace, atEnd ? 1 : leastTried)) return { pace, decision: { what: 'end', as: 'failed', error: whyFailed(pace) } }
  if (atEnd) {
    if (pace.stage === ends.length - 1) return { pace, decision: { what: 'end', as: 'done' } }
    return decide({ ...pace, stage: pace.stage + 1, observedFrom: null }, now, stepItems)
  }
  if (pace.counts.started > 0 && now - pace.lookedAt >= lookMs) return { pace, decision: { what: 'look' } }
  if (pace.tokens < 1) return { pace, decision: { what: 'wait', ms: Math.ceil(((1 - pace.tokens) / pace.settings.rate!) * 1_000) } }
  return { pace, decision: { what: 'step', limit: Math.min(stepItems, Math.floor(pace.tokens), end - pace.next) } }
}

/** After items were tried: as many, with these outcomes. */
export function stepped(pace: Pace, tried: OperationCounts): Pace {
  const items = tried.done + tried.failed + tried.skipped + tried.started
  const counts = {
    done: pace.counts.done + tried.done,
    failed: pace.counts.failed + tried.failed,
    skipped: pace.counts.skipped + tried.skipped,
    started: pace.counts.started + tried.started,
  }
  return { ...pace, counts, next: pace.next + items, tokens: pace.tokens - items }
}

/** After a look: so many of the started ones have ended so, and perhaps there are more to see. */
export function looked(pace: Pace, ended: Omit<OperationCounts, 'started'>, now: number, hasMoreToSee = false): Pace {
  const { done, failed, skipped, started } = pace.counts
  const counts = {
    done: done + ended.done,
    failed: failed + ended.failed,
    skipped: skipped + ended.skipped,
    started: started - ended.done - ended.failed - ended.skipped,
  }
  return { ...pace, counts, lookedAt: now, hasMoreToSee }
}

/** What counts for the ratio: those left alone say nothing. */
export function triedOf({ done, failed, started }: OperationCounts): number {
  return done + failed + started
}

function failing(pace: Pace, least: number): boolean {
  const { tried, failed } = sinceBase(pace)
  return tried >= least && failed > pace.settings.maxFailures * tried
}

function sinceBase({ counts, base }: Pace): { readonly tried: number; readonly failed: number } {
  return { tried: triedOf(counts) - base.tried, failed: counts.failed - base.failed }
}

function whyFailed(pace: Pace): string {
  const { tried, failed } = sinceBase(pace)
  return `${failed} of ${tried} items tried have failed, more than the limit of ${pace.settings.maxFailures}.`
}

function lookOrWait(pace: Pace, now: number, leftMs: number): { readonly pace: Pace; readonly decision: Decision } {
  // At the end of a stage nothing else is to be done. In its middle, looks must not keep it from its steps, however many are under way.
  const untilLook = pace.hasMoreToSee ? 0 : pace.lookedAt + lookMs - now
  return { pace, decision: untilLook <= 0 ? { what: 'look' } : { what: 'wait', ms: Math.min(untilLook, leftMs) } }
}

/** A bucket that is filled at the rate and holds a fifth of a second of it, at least one item. */
function refilled(pace: Pace, now: number): Pace {
  const { rate } = pace.settings
  if (rate === null) return { ...pace, tokens: Number.POSITIVE_INFINITY, filledAt: now }
  const tokens = Math.min(Math.max(1, rate * burstSeconds), pace.tokens + ((now - pace.filledAt) * rate) / 1_000)
  return { ...pace, tokens, filledAt: now }
}
