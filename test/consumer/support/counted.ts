import { z } from 'zod'
import { event } from '../../../src/message/index.ts'

const counter = { aggregate: 'counter', key: ({ key }: { key: string }) => key, schema: z.object({ key: z.string(), n: z.number() }) }

/** The event of these tests: the n-th of its key. */
export const Counted = event('Counted', counter)

/** The same on a topic of its own. */
export const countedOn = (topic: string): typeof Counted => event('Counted', { ...counter, topic })

/** Makes the table into which handlers write, one row per effect; `place` tells the order of the statements. */
export const effectTable =
  'create table effect (place bigint generated always as identity, id text not null, key text not null, n int not null)'
export const insertEffect = 'insert into effect (id, key, n) values ($1, $2, $3)'

/** Handlers of these fail once, after their effect: it has to be undone, and done again. */
export function failsAtFirst({ key, n }: { readonly key: string; readonly n: number }): boolean {
  return key === 'late' && n % 4 === 1
}
