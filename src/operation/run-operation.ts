import { TidemarkError } from '../errors.ts'
import { backoffMs } from '../internal/backoff.ts'
import { type Clock, pause } from '../internal/clock.ts'
import { crashPoint } from '../internal/crash-point.ts'
import type { AuditEntry } from './audit.ts'
import type { OperationKind, StepContext } from './kind.ts'
import type { Item, ItemResult, OperationCounts } from './operation.ts'
import { type Decision, type Pace, decide, looked, paceOf, stepped } from './pace.ts'
import type { OperationLease } from './port.ts'

/** A wait is never longer, so that a stop is noticed. */
const longestWaitMs = 1_000
/** Started items looked at in one go. */
const lookPage = 500
/** A step that fails by others (a deadlock, a lost connection of the kind's) is tried so often before its items are charged. */
const stepTries = 5
const stepBackoff = { firstMs: 50, maxMs: 2_000 }
const defaultStepItems = 100

/** Runs one claimed operation. */
export interface OperationRunOptions {
  readonly lease: OperationLease
  readonly kind: OperationKind
  readonly clock: Clock
  readonly leaseMs: number
  /** The line that tells of its end. */
  readonly endLine: (as: 'done' | 'failed', counts: OperationCounts) => AuditEntry
  /** Ends the work, unfinished. */
  readonly stop: AbortSignal
}

/** `lost`: paused, cancelled, or taken by another process. `stopped`: given back. */
export type RunOutcome = 'done' | 'failed' | 'lost' | 'stopped'

/**
 * Works on an operation until it ends, is lost or is to stop. Rejects with what the store rejects with: the outcome of the last step is unknown then,
 * and a new claim finds out. What to do next is `decide`'s; here it is done.
 */
export async function runOperation(options: OperationRunOptions): Promise<RunOutcome> {
  const lost = new AbortController()
  const stopBeating = beat(options, lost)
  try {
    crashPoint('operation:after-claim')
    return await new OperationRun(options, lost).run()
  } finally {
    stopBeating()
    lost.abort()
  }
}

class OperationRun {
  readonly #options: OperationRunOptions
  readonly #lost: AbortController
  /** Stopped, or lost. */
  readonly #signal: AbortSignal
  readonly #context: StepContext
  #pace: Pace
  /** So many of the next items are tried group by group: one of them has made a step fail. */
  #singly = 0
  #tries = 0
  /** Where the next look begins. */
  #lookAfter = -1

  constructor(options: OperationRunOptions, lost: AbortController) {
    this.#options = options
    this.#lost = lost
    this.#signal = AbortSignal.any([options.stop, lost.signal])
    this.#context = { operation: options.lease.operation, signal: this.#signal }
    this.#pace = paceOf(options.lease.operation, options.clock.elapsed())
  }

  async run(): Promise<RunOutcome> {
    const { operation } = this.#options.lease
    if (!operation.frozen && !(await this.#freeze())) return this.#ended()
    for (;;) {
      if (this.#signal.aborted) return this.#ended()
      const { pace: now, decision } = decide(this.#pace, this.#options.clock.elapsed(), this.#stepItems())
      this.#pace = now
      if (decision.what === 'end') return this.#end(decision)
      if (!(await this.#do(decision))) return this.#ended()
    }
  }

  #stepItems(): number {
    return this.#singly > 0 ? 1 : (this.#options.kind.stepItems ?? defaultStepItems)
  }

  /** `false`: lost, or to stop. */
  async #freeze(): Promise<boolean> {
    const { lease, kind, clock } = this.#options
    if (!(await lease.clear())) return this.#lose()
    for await (const page of kind.freeze(lease.operation)) {
      if (this.#signal.aborted) return false
      crashPoint('operation:mid-freeze')
      if (!(await lease.freeze(page))) return this.#lose()
    }
    crashPoint('operation:after-freeze')
    const total = await lease.frozen()
    if (total === 'fenced') return this.#lose()
    crashPoint('operation:after-frozen')
    this.#pace = paceOf({ ...lease.operation, total }, clock.elapsed())
    return true
  }

  async #do(decision: Exclude<Decision, { readonly what: 'end' }>): Promise<boolean> {
    if (decision.what === 'step') return this.#step(decision.limit)
    if (decision.what === 'look') return this.#look()
    await pause(this.#options.clock, Math.min(decision.ms, longestWaitMs), this.#signal)
    return true
  }

  async #step(limit: number): Promise<boolean> {
    const { lease } = this.#options
    const items = await lease.pending(this.#pace.next, limit)
    if (items.length === 0)
      throw new TidemarkError('INPUT_INVALID', `The operation ${lease.operation.id} lacks the item ${this.#pace.next}.`)
    crashPoint('operation:before-step')
    const results = await this.#tried(items)
    if (results === 'again') return true
    if (results === 'lost') return this.#lose()
    crashPoint('operation:after-step')
    this.#tries = 0
    this.#singly = Math.max(0, this.#singly - items.length)
    this.#pace = stepped(this.#pace, countOf(results))
    return true
  }

  /** Does the items and stores their results. What the kind throws is charged to them, unless others are to blame. */
  async #tried(items: readonly Item[]): Promise<readonly ItemResult[] | 'again' | 'lost'> {
    const { lease, kind } = this.#options
    let results: readonly ItemResult[] = []
    let thrown: { readonly error: unknown } | null = null
    const guarded = async (work: () => Promise<readonly ItemResult[]>): Promise<readonly ItemResult[]> => {
      try {
        results = complete(items, await work())
        return results
      } catch (error) {
        thrown = { error }
        throw error
      }
    }
    try {
      if (kind.effect === 'transaction') {
        const outcome = await lease.step(this.#pace.next, (tx) => guarded(() => kind.step(items, this.#context, tx)))
        return outcome === 'fenced' ? 'lost' : results
      }
      const done = await guarded(() => kind.step(items, this.#context))
      crashPoint('operation:after-effect')
      return await this.#store(done)
    } catch (error) {
      const failure = thrown as { readonly error: unknown } | null
      if (failure === null || failure.error !== error) throw error
      return this.#failed(items, failure.error)
    }
  }

  async #store(results: readonly ItemResult[]): Promise<readonly ItemResult[] | 'lost'> {
    const outcome = await this.#options.lease.step(this.#pace.next, () => Promise.resolve(results))
    return outcome === 'fenced' ? 'lost' : results
  }

  async #failed(items: readonly Item[], error: unknown): Promise<readonly ItemResult[] | 'again' | 'lost'> {
    // It was told to leave off: whoever comes next does these items.
    if (this.#signal.aborted) return 'again'
    this.#tries += 1
    if (isOthersFault(error) && this.#tries < stepTries) {
      const { clock } = this.#options
      await pause(clock, backoffMs(stepBackoff, this.#tries, clock.random()), this.#signal)
      return 'again'
    }
    if (groupsOf(items) > 1) {
      this.#singly = items.length
      return 'again'
    }
    const reason = reasonOf(error)
    return this.#store(items.map(({ place }) => ({ place, outcome: 'failed', reason })))
  }

  /** One page of started items, the next one at the next look. */
  async #look(): Promise<boolean> {
    const { lease, kind, clock } = this.#options
    const items = await lease.started(this.#lookAfter, lookPage)
    this.#lookAfter = items.length < lookPage ? -1 : items.at(-1)!.place
    const results = items.length === 0 ? [] : ((await kind.look?.(items, this.#context)) ?? [])
    const ended = results.length === 0 ? { done: 0, failed: 0, skipped: 0 } : await lease.settle(results)
    if (ended === 'fenced') return this.#lose()
    crashPoint('operation:after-look')
    this.#pace = looked(this.#pace, ended, clock.elapsed(), this.#lookAfter !== -1)
    return true
  }

  async #end({ as, ...rest }: Extract<Decision, { readonly what: 'end' }>): Promise<RunOutcome> {
    const { lease, endLine } = this.#options
    crashPoint('operation:before-end')
    const error = 'error' in rest ? rest.error : null
    if (!(await lease.end(as, error, endLine(as, this.#pace.counts)))) return 'lost'
    crashPoint('operation:after-end')
    return as
  }

  #lose(): false {
    this.#lost.abort()
    return false
  }

  async #ended(): Promise<RunOutcome> {
    if (this.#lost.signal.aborted) return 'lost'
    await this.#options.lease.release()
    return 'stopped'
  }
}

/** Keeps the lease while a step takes long. A beat that fails is made good by the next one, or by whoever takes over. */
function beat({ lease, clock, leaseMs }: OperationRunOptions, lost: AbortController): () => void {
  let cancel = (): void => undefined
  const next = (): void => {
    cancel = clock.after(leaseMs / 3, () => {
      lease.renew().then(
        (held) => {
          if (!held) lost.abort()
          else if (!lost.signal.aborted) next()
        },
        () => {
          if (!lost.signal.aborted) next()
        },
      )
    })
  }
  next()
  return () => cancel()
}

/** A kind that forgets an item would have it done again for ever, or never. */
function complete(items: readonly Item[], results: readonly ItemResult[]): readonly ItemResult[] {
  const byPlace = new Map(results.map((result) => [result.place, result]))
  return items.map(({ place }) => byPlace.get(place) ?? { place, outcome: 'failed', reason: 'the step said nothing of it' })
}

function countOf(results: readonly ItemResult[]): OperationCounts {
  const counts = { done: 0, failed: 0, skipped: 0, started: 0 }
  for (const { outcome } of results) counts[outcome] += 1
  return counts
}

/** Items without a group are each one of their own. */
function groupsOf(items: readonly Item[]): number {
  return new Set(items.map(({ group, place }) => group ?? place)).size
}

/** Would the same step succeed later? Deadlocks and serialisation failures, connections, and what says so of itself. */
function isOthersFault(error: unknown): boolean {
  if (TidemarkError.is(error)) return error.retryable
  return error instanceof Error && 'code' in error && (error.code === '40001' || error.code === '40P01')
}

/** Texts of foreign errors quote payloads: their class is enough. */
function reasonOf(error: unknown): string {
  if (TidemarkError.is(error)) return `${error.code}: ${error.message}`
  if (!(error instanceof Error)) return `a ${typeof error} was thrown`
  return 'code' in error && typeof error.code === 'string' ? `${error.name} ${error.code}` : error.name
}
