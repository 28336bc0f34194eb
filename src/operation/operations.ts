import { TidemarkError } from '../errors.ts'
import { type Clock, pause, systemClock } from '../internal/clock.ts'
import { uuidv7 } from '../internal/uuid.ts'
import type { Actor } from './actor.ts'
import type { Audit } from './audit.ts'
import { type OperationKind, checkKinds } from './kind.ts'
import { type Item, type Operation, type OperationSettings, type Params, type Plan, defaultSettings, isEnded } from './operation.ts'
import type { ItemFilter, OperationFilter, OperationStore, OperationWish } from './port.ts'

/** Who wants it, and why. */
export interface Asked {
  readonly actor: Actor
  readonly reason?: string
}

export interface StartOptions extends Asked {
  /** What is left out is as `defaultSettings` has it. */
  readonly settings?: Partial<OperationSettings>
}

export interface WatchOptions {
  /** Ends the watching, not the operation. */
  readonly signal?: AbortSignal
  /** Between two looks. @default 500 ms */
  readonly everyMs?: number
}

export interface OperationsOptions {
  readonly store: OperationStore
  readonly kinds: readonly OperationKind[]
  readonly audit: Audit
  /** Called when one may be worked on. */
  readonly onReady?: () => void
  /** @default this process's clock */
  readonly clock?: Clock
}

/**
 * Starts, watches and stops operations. Who works on them is another matter: any process that runs `runOperations` with their kinds.
 *
 * ```ts
 * const operation = await operations.start('redrive', { filter: { types: ['OrderPlaced'] } }, { actor, reason: 'fixed by 1.4.2' })
 * for await (const { state, next, total } of operations.watch(operation.id)) console.log(state, next, total)
 * ```
 */
export class Operations {
  readonly #options: OperationsOptions

  /** Throws `CONFIG_INVALID` when two kinds have one name. */
  constructor(options: OperationsOptions) {
    checkKinds(options.kinds)
    this.#options = options
  }

  /** Counts and looks; stores nothing and changes nothing. Rejects with `NOT_ALLOWED` or `INPUT_INVALID`. */
  async preview(kind: string, params: Params, asked: Asked): Promise<Plan> {
    const known = this.#kind(kind)
    await this.#allow(known, null, asked)
    return known.plan(params)
  }

  /** Stores what it would do, with the count, for somebody to confirm. */
  async plan(kind: string, params: Params, { settings = {}, ...asked }: StartOptions): Promise<Operation> {
    const { store } = this.#options
    const known = this.#kind(kind)
    const id = uuidv7()
    const line = await this.#allow(known, id, asked)
    const checked = checkSettings(settings)
    const { count, summary, params: kept = params } = await known.plan(params)
    const operation = {
      id,
      kind,
      params: kept,
      settings: checked,
      planned: { count, summary },
      actor: asked.actor,
      reason: asked.reason ?? null,
    }
    await store.create(operation, { ...line, details: { phase: 'planned', kind, count } })
    return this.get(id)
  }

  /** Lets a planned one begin: its items are frozen, and then worked on by the first process that is free. */
  async confirm(id: string, asked: Asked): Promise<Operation> {
    const operation = await this.get(id)
    const line = await this.#allow(this.#kind(operation.kind), id, asked)
    const details = { phase: 'confirmed', kind: operation.kind, count: operation.planned.count }
    return this.#changed(id, 'confirm', await this.#options.store.change(id, 'confirm', { ...line, details }))
  }

  /** Plans and confirms. */
  async start(kind: string, params: Params, options: StartOptions): Promise<Operation> {
    const { id } = await this.plan(kind, params, options)
    return this.confirm(id, options)
  }

  /** Nothing more of it commits once this has resolved. What a step under way did outside of the database may have happened. */
  pause(id: string, asked: Asked): Promise<Operation> {
    return this.#change(id, 'pause', asked)
  }

  /** Goes on at the first item that has no outcome, also after it failed; failures so far do not count any more. */
  resume(id: string, asked: Asked): Promise<Operation> {
    return this.#change(id, 'resume', asked)
  }

  /** As `pause`, for good. What is done stays done. */
  cancel(id: string, asked: Asked): Promise<Operation> {
    return this.#change(id, 'cancel', asked)
  }

  /** Rejects with `OPERATION_UNKNOWN`. */
  async get(id: string): Promise<Operation> {
    const operation = await this.#options.store.get(id)
    if (operation !== null) return operation
    throw new TidemarkError('OPERATION_UNKNOWN', `There is no operation ${JSON.stringify(id)}.`, { details: { id }, remedy: 'List them.' })
  }

  /** Newest first. */
  list(filter: OperationFilter = {}): Promise<readonly Operation[]> {
    return this.#options.store.list(filter)
  }

  /** Its items with how each ended, in their order. */
  items(id: string, filter: ItemFilter = {}): Promise<readonly Item[]> {
    return this.#options.store.items(id, filter)
  }

  /** The operation now, and again whenever it has changed, until it has ended. Looks at the database: it may run anywhere. */
  async *watch(id: string, { signal, everyMs = 500 }: WatchOptions = {}): AsyncGenerator<Operation, void, undefined> {
    const { clock = systemClock } = this.#options
    let seen = ''
    while (signal?.aborted !== true) {
      const operation = await this.get(id)
      const now = JSON.stringify([operation.state, operation.next, operation.total, operation.counts, operation.runner])
      if (now !== seen) yield operation
      seen = now
      if (isEnded(operation)) return
      await pause(clock, everyMs, signal)
    }
  }

  async #change(id: string, wish: OperationWish, { actor, reason }: Asked): Promise<Operation> {
    const { kind } = await this.get(id)
    const target = { type: 'operation', id, details: { kind } }
    const line = await this.#options.audit.allow({ actor, verb: `operation.${wish}`, target, reason: reason ?? null })
    return this.#changed(id, wish, await this.#options.store.change(id, wish, line))
  }

  async #changed(id: string, wish: OperationWish, changed: Operation | null): Promise<Operation> {
    if (changed === null) {
      const { state } = await this.get(id)
      throw new TidemarkError('OPERATION_CONFLICT', `The operation ${id} is ${state}: it takes no ${wish}.`, {
        details: { id, state, wish },
      })
    }
    if (wish === 'confirm' || wish === 'resume') this.#options.onReady?.()
    return changed
  }

  #allow({ name, verb = `operation.${name}` }: OperationKind, id: string | null, { actor, reason }: Asked): ReturnType<Audit['allow']> {
    return this.#options.audit.allow({ actor, verb, target: { type: 'operation', id, details: { kind: name } }, reason: reason ?? null })
  }

  #kind(name: string): OperationKind {
    const kind = this.#options.kinds.find((one) => one.name === name)
    if (kind !== undefined) return kind
    const known = this.#options.kinds.map((one) => one.name).join(', ')
    throw new TidemarkError(
      'INPUT_INVALID',
      `There is no kind of operation "${name}"; this process knows: ${known === '' ? 'none' : known}.`,
    )
  }
}

/** Throws `INPUT_INVALID` with what was expected. */
function checkSettings(settings: Partial<OperationSettings>): OperationSettings {
  for (const name of Object.keys(settings))
    if (!Object.hasOwn(defaultSettings, name)) throw invalid('settings', Object.keys(defaultSettings).join(', '), name)
  const { rate, canary, maxFailures, observeMs } = { ...defaultSettings, ...settings }
  if (rate !== null && !(rate > 0 && Number.isFinite(rate))) throw invalid('rate', 'items per second above 0, or null', rate)
  const rising = Array.isArray(canary) && canary.every((share: number, i) => share > Number(canary[i - 1] ?? 0) && share <= 1)
  if (!rising || canary.at(-1) !== 1) throw invalid('canary', 'shares that rise up to 1, such as [0.01, 0.05, 0.2, 1]', canary)
  if (!(typeof maxFailures === 'number' && maxFailures >= 0 && maxFailures <= 1))
    throw invalid('maxFailures', 'a share from 0 to 1', maxFailures)
  if (!(Number.isFinite(observeMs) && observeMs >= 0)) throw invalid('observeMs', 'milliseconds, 0 or more', observeMs)
  return { rate, canary, maxFailures, observeMs }
}

function invalid(name: string, expected: string, came: unknown): TidemarkError {
  return new TidemarkError('INPUT_INVALID', `${name} takes ${expected}; got ${JSON.stringify(came)}.`)
}
