import { hostname } from 'node:os'
import { TidemarkError } from '../errors.ts'
import type { Origin, Target } from './actor.ts'
import type { AuditEntry } from './audit.ts'
import type { IdempotentKind, StepContext } from './kind.ts'
import type { Item, ItemResult, Params, Plan } from './operation.ts'

/** Whose messages are to be erased: one key of one aggregate type, or topic. */
export interface ErasedKey {
  /** As the outbox has it. */
  readonly aggregateType: string
  /** Topics that its messages may stand in. Their retry topics and topics of dead letters go with them, by the default names. */
  readonly topics: readonly string[]
  readonly key: string
}

/** What a store says of a key. */
export interface ErasureCount {
  /** Messages whose content is still there and can be erased now. */
  readonly count: number
  /** Messages that must keep it for now, with the reason. */
  readonly left?: { readonly count: number; readonly why: string }
}

/** Makes a line of the audit log, in the name of who erases. */
export type ErasureLine = (verb: string, target: Target) => AuditEntry

/** A place where a person's messages are kept. Erasing twice is the same as once. */
export interface ErasableStore {
  readonly name: string
  count(key: ErasedKey): Promise<ErasureCount>
  /** Returns what was erased, and what is left. Places and identities stay, so that nothing else moves or comes again. */
  erase(key: ErasedKey, line: ErasureLine): Promise<ErasureCount>
}

export interface EraseKindOptions {
  /** In the order in which they are erased. */
  readonly stores: readonly ErasableStore[]
  /** Where copies remain that these stores do not reach, in words. */
  readonly remaining?: readonly string[]
  /** @default 'api' */
  readonly origin?: Origin
}

/** Erases the content of all messages of one key, store by store, each an item with its result. */
export function eraseKind({ stores, remaining = [], origin = 'api' }: EraseKindOptions): IdempotentKind {
  return {
    name: 'erase',
    verb: 'message.erase',
    effect: 'idempotent',
    stepItems: 1,
    async plan(params): Promise<Plan> {
      const key = keyOf(params)
      const counts = []
      for (const store of stores) counts.push({ store: store.name, ...(await store.count(key)) })
      const count = counts.reduce((sum, one) => sum + one.count, 0)
      return { count, params: { ...key }, summary: { stores: counts, remaining } }
    },
    async *freeze() {
      yield stores.map(({ name }) => ({ group: null, data: { store: name } }))
    },
    async step(items, context): Promise<readonly ItemResult[]> {
      const results: ItemResult[] = []
      for (const item of items) results.push(await eraseIn(stores, item, context, origin))
      return results
    },
  }
}

async function eraseIn(stores: readonly ErasableStore[], item: Item, { operation }: StepContext, origin: Origin): Promise<ItemResult> {
  const name = String(item.data['store'])
  const store = stores.find((one) => one.name === name)
  if (store === undefined) {
    return { place: item.place, outcome: 'failed', reason: `this process does not reach ${name}: erase again from one that does.` }
  }
  const { actor, reason, id } = operation
  const line: ErasureLine = (verb, { type, id: target, details = {} }) => {
    const from = { origin, host: hostname(), outcome: 'done' } as const
    return { actor, verb, target: { type, id: target }, reason, ...from, details: { ...details, operation: id } }
  }
  const { count, left } = await store.erase(keyOf(operation.params), line)
  const said = `${count} erased`
  if (left === undefined || left.count === 0) return { place: item.place, outcome: 'done', reason: said }
  return { place: item.place, outcome: 'failed', reason: `${said}, ${left.count} left: ${left.why}` }
}

function keyOf(params: Params): ErasedKey {
  const { aggregateType, topics, key } = params
  const isKey = typeof aggregateType === 'string' && typeof key === 'string' && key !== '' && Array.isArray(topics)
  if (isKey) return { aggregateType, key, topics: topics.map(String) }
  throw new TidemarkError(
    'INPUT_INVALID',
    `An erase takes aggregateType, topics and key; got ${Object.keys(params).join(', ') || 'nothing'}.`,
  )
}
