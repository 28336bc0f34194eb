import { afterAll } from 'vitest'
import { z } from 'zod'
import { PostgresDatabase } from '../../../src/drivers/postgres/database.ts'
import { migrate } from '../../../src/drivers/postgres/migrations/migrate.ts'
import { type EventDefinition, event } from '../../../src/message/index.ts'
import { testDatabase } from '../../support/postgres.ts'
import { until } from '../../support/until.ts'

const schema = z.object({ key: z.string(), n: z.number(), pad: z.string().optional() })

/** The n-th change of a key, from 1. */
export interface Change {
  readonly key: string
  readonly n: number
}

/** The event of these tests. Each test has a topic of its own. */
export function changed(aggregate: string): EventDefinition<'Changed', typeof schema> {
  return event('Changed', { aggregate, key: ({ key }) => key, schema })
}

/** What a load has come to in one group. All of it must be 0 but the first two. */
export interface Outcome {
  readonly due: number
  readonly handled: number
  readonly lost: number
  readonly doubled: number
  /** Effects that do not follow the one of the number before, by the order in which they were written. */
  readonly misplaced: number
}

/** A database with the outbox of a producer, and the effects of its consumers. */
export interface LoadDatabase {
  readonly url: string
  readonly database: PostgresDatabase
  outcome(aggregate: string, group: string): Promise<Outcome>
  /** Waits until every change that was committed has an effect in each of the groups, or none is added for half a minute; then counts. */
  untilHandled(aggregate: string, groups: readonly string[]): Promise<Outcome[]>
}

/** What a load should come to. */
export function exactly(due: number): Outcome {
  return { due, handled: due, lost: 0, doubled: 0, misplaced: 0 }
}

/** Call it at the top level of the test file. */
export async function loadDatabase(label: string): Promise<LoadDatabase> {
  const { connectionString } = await testDatabase(label)
  const url = connectionString()
  const database = new PostgresDatabase({ connectionString: url, maxConnections: 5 })
  afterAll(() => database.close())
  await makeLoadTables(database)
  const outcome = async (aggregate: string, group: string): Promise<Outcome> => {
    const [row] = await database.query<{ [Count in keyof Outcome]: number }>(outcomeQuery, [aggregate, group])
    return row!
  }
  const lost = async (aggregate: string, groups: readonly string[]): Promise<number> =>
    (await Promise.all(groups.map((group) => outcome(aggregate, group)))).reduce((sum, each) => sum + each.lost, 0)
  return {
    url,
    database,
    outcome,
    async untilHandled(aggregate, groups) {
      let left = Infinity
      for (;;) {
        const now = await lost(aggregate, groups)
        if (now === 0 || now === left) return Promise.all(groups.map((group) => outcome(aggregate, group)))
        left = now
        await until('more is handled', async () => (await lost(aggregate, groups)) < left).catch(() => undefined)
      }
    },
  }
}

/** The tables of a service, of what its producers have committed, and of what its consumers have done. */
export async function makeLoadTables(database: PostgresDatabase): Promise<void> {
  await migrate(database, { set: 'service' })
  // What was committed is told by a table of the producer's own, not by the outbox, which is part of what is tested.
  await database.query('create table latest (aggregate text, key text, n int not null, primary key (aggregate, key))')
  await database.query(
    'create table effect (place bigint generated always as identity, aggregate text not null, grp text not null, key text not null, n int not null)',
  )
  await database.query('create index on effect (aggregate, grp)')
}

const outcomeQuery = `
  with due as (select key, generate_series(1, n) as n from latest where aggregate = $1),
    done as (select key, n, lag(n) over (partition by key order by place) as before from effect where aggregate = $1 and grp = $2)
  select (select count(*) from due)::int as due, (select count(*) from done)::int as handled,
    (select count(*) from (select key, n from due except select key, n from done) missing)::int as lost,
    (select count(*) - count(distinct (key, n)) from done)::int as doubled,
    (select count(*) from done where n <> coalesce(before, 0) + 1)::int as misplaced`
