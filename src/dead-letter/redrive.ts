import { TidemarkError } from '../errors.ts'
import { originalOf } from '../consumer/batch/original-record.ts'
import { sideBySide } from '../internal/side-by-side.ts'
import type { EventDefinition } from '../message/event.ts'
import type { IdempotentKind, StepContext } from '../operation/kind.ts'
import type { FrozenItem, Item, ItemResult, Operation, Params, Plan } from '../operation/operation.ts'
import { type RedriveHorizon, beyondHorizon, beyondHorizonReason } from './beyond-horizon.ts'
import { refusals } from './conflict.ts'
import type { Letter, LetterDetail } from './letter.ts'
import { filterFromParams, filterToParams } from './letter-filter.ts'
import { type DeadLetterStore, type LetterFilter, type RedriveLetter, anyLetter } from './port.ts'
import { addTo, sharesOf } from './redrive-shares.ts'
import { schemaProblem } from './schema-problem.ts'

/** A letter that was redriven so often is left alone, unless that is forced by name. */
export const maxRedrives = 3
/** Letters whose payload a plan reads, at most: each is a read of its own. */
const sampleSize = 500
/** Partitions of one step whose letters are redriven side by side, each on a connection. */
const partitionsAtOnce = 4

/** What a redrive takes. */
export interface RedriveParams {
  /** Which letters. @default all that are dead and not archived */
  readonly filter?: LetterFilter
  /** Letters that were redriven so often before are left alone. @default 3 */
  readonly maxRedrives?: number
  /** Redrive those, too, and those beyond the dedup horizon. Whoever starts the operation is named for it in the audit log. @default false */
  readonly force?: boolean
}

export interface RedriveKindOptions {
  readonly store: () => Promise<DeadLetterStore>
  /** The events that are consumed now: a plan tells which letters they would not understand. @default nothing is told of that */
  readonly definitions?: () => readonly EventDefinition[]
  /** Leaves letters alone of which nobody can tell whether a copy was handled. @default none is */
  readonly horizon?: RedriveHorizon
}

/** What a plan's summary says of letters that today's definitions would not understand. */
export interface SchemaProblem {
  readonly type: string | null
  /** The code of the error; `UNHANDLED`: no definition is for it. */
  readonly problem: string
  readonly count: number
  /** The id of one of them. */
  readonly example: number
}

/** As an operation keeps them; for `operations.start('redrive', redriveParams({ … }))`. */
export function redriveParams({ filter = {}, ...rest }: RedriveParams): Params {
  return { filter: filterToParams(filter), ...rest }
}

/**
 * Redrives dead letters: to the group that could not handle them, key by key in the order of their offsets. A letter counts as done when it is handled,
 * and as failed when it dies again while the operation runs.
 */
export function redriveKind({ store, definitions = () => [], horizon }: RedriveKindOptions): IdempotentKind {
  return {
    name: 'redrive',
    verb: 'dead-letter.redrive',
    effect: 'idempotent',
    plan: async (params) => plan(await store(), definitions(), params),
    async *freeze(operation) {
      yield* freeze(await store(), operation)
    },
    step: async (items, context) =>
      redriveItems(await store(), items, { ...context, params: checkParams(context.operation.params), horizon }),
    look: async (items) => look(await store(), items),
  }
}

async function plan(store: DeadLetterStore, definitions: readonly EventDefinition[], params: Params): Promise<Plan> {
  const checked = checkParams(params)
  const { count, oldest, newest, keys } = await store.count(checked.filter)
  const sample = await lookInto(store, definitions, checked)
  return { count, params: redriveParams(checked), summary: { oldest, newest, keys, ...sample } }
}

/** Payloads are read for the sample only, and none of them is told. */
async function lookInto(store: DeadLetterStore, definitions: readonly EventDefinition[], params: Required<RedriveParams>): Promise<Params> {
  const { letters } = await store.list(params.filter, { limit: sampleSize })
  const problems = new Map<string, SchemaProblem>()
  for (const { id, type } of definitions.length === 0 ? [] : letters) {
    const detail = await store.get(id)
    const problem = detail === null ? null : await problemOf(detail, definitions)
    if (problem === null) continue
    const name = `${type} ${problem}`
    const known = problems.get(name) ?? { type, problem, count: 0, example: id }
    problems.set(name, { ...known, count: known.count + 1 })
  }
  const guarded = params.force ? 0 : letters.filter(({ redrives }) => redrives >= params.maxRedrives).length
  const schemaProblems = definitions.length === 0 ? {} : { schemaProblems: [...problems.values()] }
  return { sampled: letters.length, redrivenTooOften: guarded, ...schemaProblems }
}

/** The code of what today's definitions would say to it. `UNHANDLED`: none of them is for it. */
async function problemOf({ record: found, type }: LetterDetail, definitions: readonly EventDefinition[]): Promise<string | null> {
  // One that died in a retry topic is an event of the topic that it came from.
  const { record } = originalOf(found)
  const ofTopic = definitions.filter(({ topic }) => topic === record.topic)
  const definition = ofTopic.find((one) => one.type === type) ?? ofTopic.find(({ untyped }) => untyped)
  return definition === undefined ? 'UNHANDLED' : ((await schemaProblem(record, definition))?.code ?? null)
}

/** Fails with `INPUT_INVALID`, before anything is looked at. */
function checkParams(params: Params): Required<RedriveParams> {
  const { filter = {}, maxRedrives: most = maxRedrives, force = false, ...rest } = params
  const unknown = Object.keys(rest)[0]
  if (unknown !== undefined) throw new TidemarkError('INPUT_INVALID', `A redrive takes filter, maxRedrives and force; got "${unknown}".`)
  if (!Number.isInteger(most) || Number(most) < 0) {
    throw new TidemarkError('INPUT_INVALID', `maxRedrives takes a whole number, 0 or more; got ${JSON.stringify(most)}.`)
  }
  return { filter: filterFromParams(filter), maxRedrives: Number(most), force: force === true }
}

/**
 * The selection is read to its end first, since it holds a connection, and so does whoever stores the items: several operations at once, or a pool of one
 * connection, could wait for each other for ever. Meanwhile the pages stand outside of the heap, about 100 bytes for a letter.
 */
async function* freeze(store: DeadLetterStore, { params }: Operation): AsyncGenerator<readonly FrozenItem[]> {
  const pages: Buffer[] = []
  for await (const page of store.select(checkParams(params).filter)) {
    pages.push(Buffer.from(JSON.stringify(page.map(({ id, version, order }) => ({ group: order, data: { id, version } })))))
  }
  for (const page of pages) yield JSON.parse(page.toString()) as readonly FrozenItem[]
}

/** A letter as it was frozen. */
interface Frozen {
  readonly place: number
  readonly group: string | null
  readonly id: number
  readonly version: number
}

/** With what a redrive needs besides. */
interface RedriveContext extends StepContext {
  readonly params: Required<RedriveParams>
  readonly horizon: RedriveHorizon | undefined
}

async function redriveItems(store: DeadLetterStore, items: readonly Item[], context: RedriveContext): Promise<readonly ItemResult[]> {
  const frozen = items.map(({ place, group, data }) => ({ place, group, id: Number(data['id']), version: Number(data['version']) }))
  const letters = await lettersOf(store, frozen)
  const beyond = await forgotten(store, [...letters.values()], context)
  const left: ItemResult[] = []
  const partitions = new Map<string, Frozen[]>()
  for (const one of frozen) {
    const isBeyond = beyond.has(one.id) && letters.get(one.id)?.state === 'dead'
    const result = isBeyond
      ? ({ place: one.place, outcome: 'skipped', reason: beyondHorizonReason } as const)
      : await withoutRedrive(store, one, letters.get(one.id), context)
    if (result !== null) left.push(result)
    else addTo(partitions, placeOf(letters.get(one.id)!), one)
  }
  return [...left, ...(await redrivePartitions(store, [...partitions.values()], context))]
}

/** Letters that only somebody by name may redrive. */
function forgotten(store: DeadLetterStore, letters: readonly Letter[], { params, horizon }: RedriveContext): Promise<ReadonlySet<number>> {
  if (horizon === undefined || params.force) return Promise.resolve(new Set<number>())
  return beyondHorizon(
    store,
    letters.filter(({ state }) => state === 'dead'),
    horizon,
  )
}

/** The result of a letter that is not to be redriven; `null`: it is. */
async function withoutRedrive(
  store: DeadLetterStore,
  frozen: Frozen,
  letter: Letter | undefined,
  context: RedriveContext,
): Promise<ItemResult | null> {
  const { place, version } = frozen
  if (letter === undefined) return { place, outcome: 'skipped', reason: refusals.unknown }
  if (letter.state !== 'dead') return changedResult(store, frozen, refusals['not-dead'], context)
  if (letter.version !== version) return changedResult(store, frozen, refusals.changed, context)
  const { maxRedrives: most, force } = context.params
  if (force || letter.redrives < most) return null
  return { place, outcome: 'skipped', reason: `it was redriven ${letter.redrives} times before; force it if that is meant.` }
}

/**
 * Somebody else has changed the letter, or this operation has redriven it: a process that died before it could note that, or was followed by another one
 * while it stood still, was at this very step.
 */
async function changedResult(
  store: DeadLetterStore,
  { place, id }: Frozen,
  reason: string,
  { operation }: RedriveContext,
): Promise<ItemResult> {
  const { history = [] } = (await store.get(id)) ?? {}
  const isOurs = history.some(({ action, text }) => action === 'redriven' && text?.includes(markOf(operation)) === true)
  return isOurs ? { place, outcome: 'started' } : { place, outcome: 'skipped', reason }
}

/** Names the group and partition. */
function placeOf({ group, topicId, partition }: Letter): string {
  return JSON.stringify([group, topicId, partition])
}

/** Letters of one partition go together, as many as one transaction should have; some partitions side by side. */
async function redrivePartitions(
  store: DeadLetterStore,
  partitions: readonly (readonly Frozen[])[],
  context: RedriveContext,
): Promise<readonly ItemResult[]> {
  const results: ItemResult[] = []
  await sideBySide(partitions, partitionsAtOnce, async (letters) => {
    for (const share of sharesOf(letters)) {
      context.signal.throwIfAborted()
      results.push(...(await redriveShare(store, share, context)))
    }
  })
  return results
}

async function redriveShare(store: DeadLetterStore, letters: readonly Frozen[], context: RedriveContext): Promise<readonly ItemResult[]> {
  const { operation } = context
  const asked: readonly RedriveLetter[] = letters.map(({ id, version }) => ({ id, version }))
  const reason = [operation.reason, markOf(operation)].filter((part) => part !== null).join(' ')
  const outcomes = await store.redrive(asked, { actor: operation.actor.id, reason })
  const frozen = new Map(letters.map((letter) => [letter.id, letter]))
  const results: ItemResult[] = []
  for (const one of outcomes) {
    const letter = frozen.get(one.id)!
    if (one.outcome === 'redriven') results.push({ place: letter.place, outcome: 'started' })
    else results.push(await changedResult(store, letter, refusals[one.reason], context))
  }
  return results
}

/** Stands in the letter's history. */
function markOf({ id }: Operation): string {
  return `(operation ${id})`
}

/** How redriven letters have ended so far. */
async function look(store: DeadLetterStore, items: readonly Item[]): Promise<readonly ItemResult[]> {
  const letters = await lettersOf(
    store,
    items.map(({ data }) => ({ id: Number(data['id']) })),
  )
  return items.flatMap(({ place, data }): readonly ItemResult[] => {
    const letter = letters.get(Number(data['id']))
    if (letter === undefined) return [{ place, outcome: 'skipped', reason: refusals.unknown }]
    if (letter.state === 'dead') return [{ place, outcome: 'failed', reason: `it died again: ${letter.errorClass}` }]
    if (letter.state === 'discarded') return [{ place, outcome: 'skipped', reason: 'it was discarded meanwhile.' }]
    return letter.endedAt === null ? [] : [{ place, outcome: 'done' }]
  })
}

async function lettersOf(store: DeadLetterStore, letters: readonly { readonly id: number }[]): Promise<ReadonlyMap<number, Letter>> {
  const ids = letters.map(({ id }) => id)
  const found = await store.list({ ids, ...anyLetter }, { limit: ids.length })
  return new Map(found.letters.map((letter) => [letter.id, letter]))
}
