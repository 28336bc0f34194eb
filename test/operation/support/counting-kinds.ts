import type { PostgresDatabase } from '../../../src/drivers/postgres/database.ts'
import type { FrozenItem, Item, ItemResult, OperationKind, Params, TransactionalKind } from '../../../src/operation/index.ts'

/** Two kinds that write a row for each item, by either way of an effect. The rows tell what was done, how often and in which order. */
export const effectTable = `create table effect (seq bigint generated always as identity, operation uuid, n int, kind text, ended text);
  create table look (operation uuid, n int, outcome text)`

/** Params: `{ items, perGroup?, failing? }`: every `failing`-th item fails; `slow`: as many milliseconds each step takes in the server. */
function* pages({ items, perGroup = 0 }: Params): Generator<readonly FrozenItem[]> {
  for (let from = 0; from < Number(items); from += 1_000) {
    yield Array.from({ length: Math.min(1_000, Number(items) - from) }, (_, i) => {
      const n = from + i
      return { group: perGroup === 0 ? null : `g${Math.floor(n / Number(perGroup))}`, data: { n } }
    })
  }
}

function resultOf({ place }: Item, { failing = 0 }: Params): ItemResult {
  const fails = Number(failing) > 0 && place % Number(failing) === 0
  return fails ? { place, outcome: 'failed', reason: 'as asked' } : { place, outcome: 'done' }
}

const common = {
  plan: async (params: Params) => ({ count: Number(params['items']), summary: { asked: params['items'] } }),
  async *freeze({ params }: { readonly params: Params }) {
    yield* pages(params)
  },
}

const insert = 'insert into effect (operation, n, kind) select $1, n, $2 from unnest($3::int[]) n'

/** Effect and result in one transaction. */
export const counting: TransactionalKind = {
  ...common,
  name: 'count',
  effect: 'transaction',
  stepItems: 10,
  async step(items, { operation: { id, params } }, tx) {
    const numbers = items.map(({ data }) => Number(data['n']))
    if (numbers.includes(Number(params['throwing'] ?? -1))) throw new RangeError('payload of somebody')
    await tx.query(insert, [id, 'count', numbers])
    if (params['slow'] !== undefined) await tx.query('select pg_sleep($1)', [Number(params['slow']) / 1_000])
    return items.map((item) => resultOf(item, params))
  },
}

/** Its first steps meet somebody else's transaction. */
export function deadlocking(times: number): TransactionalKind {
  let met = 0
  const step: TransactionalKind['step'] = (items, context, tx) => {
    if (met++ < times) return Promise.reject(Object.assign(new Error('deadlock detected'), { code: '40P01' }))
    return counting.step(items, context, tx)
  }
  return { ...counting, name: `deadlock-${times}`, step }
}

/** The same in large steps. */
export const bulk: OperationKind = { ...counting, name: 'bulk', stepItems: 500 }

/** The effect by itself, kept from happening twice by looking first; how it ended is told by another table. */
export function marking(database: PostgresDatabase): OperationKind {
  return {
    ...common,
    name: 'mark',
    effect: 'idempotent',
    stepItems: 10,
    async step(items, { operation: { id } }) {
      const numbers = items.map(({ data }) => Number(data['n']))
      await database.query(`${insert} where not exists (select from effect e where e.operation = $1 and e.n = n.n) order by n`, [
        id,
        'mark',
        numbers,
      ])
      return items.map(({ place }) => ({ place, outcome: 'started' }))
    },
    async look(items, { operation: { id } }) {
      const rows = await database.query('select n, outcome from look where operation = $1 and n = any($2::int[])', [
        id,
        items.map(({ data }) => Number(data['n'])),
      ])
      const known = new Map(rows.map(({ n, outcome }) => [Number(n), outcome === 'failed' ? 'failed' : 'done'] as const))
      return items.flatMap(({ place, data }) => {
        const outcome = known.get(Number(data['n']))
        return outcome === undefined ? [] : [{ place, outcome }]
      })
    },
  }
}
