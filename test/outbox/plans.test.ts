import { expect, test } from 'vitest'
import * as relay from '../../src/drivers/postgres/queries/relay.ts'
import type { Statement } from '../../src/drivers/postgres/statement-run.ts'
import { outboxDatabase } from './support/outbox-database.ts'

const { database, store } = await outboxDatabase('plans')
const rows = 200_000

// An archive of many rows, and behind it a long transaction with low numbers and a few new rows.
await database.query(`insert into tidemark.outbox (id, aggregatetype, aggregateid, type, payload)
  select gen_random_uuid(), 'order', 'k' || n % 1000, 'T', '\\x00' from generate_series(1, 10) n`)
const stream = await store.openStream(0)
await stream.takeOver({ owner: 'test', leaseMs: 1 })
await publishAll()
const long = await database.lease()
await long.query('begin')
await long.query(
  `insert into tidemark.outbox (id, aggregatetype, aggregateid, type, payload) values (gen_random_uuid(), 'order', 'long', 'T', '\\x00')`,
)
for (let i = 0; i < 20; i++) {
  await database.query(`insert into tidemark.outbox (id, aggregatetype, aggregateid, type, payload)
    select gen_random_uuid(), 'order', 'k' || n % 1000, 'T', '\\x00' from generate_series(1, ${rows / 20}) n`)
}
await publishAll()
await long.query('commit')
long.release()
await database.query(
  `insert into tidemark.outbox (id, aggregatetype, aggregateid, type, payload) values (gen_random_uuid(), 'order', 'new', 'T', '\\x00')`,
)
await database.query('analyze tidemark.outbox')

async function publishAll(): Promise<void> {
  const ticked = await stream.tick(false)
  if (typeof ticked === 'string' || ticked.tick === null) throw new Error('expected a tick')
  await stream.checkpoint(ticked.tick, { rows: [], held: [], last: String(rows * 2), full: false })
}

interface Node {
  readonly 'Node Type': string
  readonly 'Relation Name'?: string
  readonly 'Actual Rows': number
  readonly 'Actual Loops': number
  readonly 'Rows Removed by Filter'?: number
  readonly Plans?: readonly Node[]
}

function nodesOf(node: Node): Node[] {
  return [node, ...(node.Plans ?? []).flatMap(nodesOf)]
}

/** Rows of the outbox that a statement's plan reads, and its sequential scans of partitions that hold any. */
async function readBy({ text, params }: Statement): Promise<{ touched: number; scans: string[] }> {
  const found = await database
    .transaction(async (tx) => {
      const result = await tx.query<{ 'QUERY PLAN': readonly { readonly Plan: Node }[] }>(`explain (analyze, format json) ${text}`, params)
      // The tick is a write: it is explained, and taken back.
      await tx.query('savepoint s')
      throw new Explained(result[0]!['QUERY PLAN'][0]!.Plan)
    })
    .catch((error: unknown) => {
      if (error instanceof Explained) return nodesOf(error.plan)
      throw error
    })
  const outbox = found.filter((node) => node['Relation Name']?.startsWith('outbox_') && node['Relation Name'] !== 'outbox_part')
  const touched = outbox.reduce(
    (sum, node) => sum + (node['Actual Rows'] + (node['Rows Removed by Filter'] ?? 0)) * node['Actual Loops'],
    0,
  )
  const scans = outbox
    .filter((node) => node['Node Type'] === 'Seq Scan' && node['Relation Name'] === 'outbox_0')
    .map((node) => node['Relation Name']!)
  return { touched, scans }
}

class Explained extends Error {
  readonly plan: Node
  constructor(plan: Node) {
    super('explained')
    this.plan = plan
  }
}

const [row] = await database.query('select epoch::text, tick::int, prev::text, cur::text, floor_new::text from tidemark.relay')
const { epoch, cur } = row as { epoch: string; cur: string }

test.each([1, 4])(
  `over an archive of ${rows} rows, with %i stream(s), probe, tick and page read by index and next to nothing`,
  async (streams) => {
    const scope = { schema: '"tidemark"', stream: 0, streams }
    const few = streams === 1 ? 20 : 200
    const probed = await readBy(relay.probe(scope, cur))
    expect(probed.scans).toEqual([])
    expect(probed.touched).toBeLessThan(few)

    const ticked = await readBy(relay.tick(scope, epoch, true))
    expect(ticked.scans).toEqual([])
    expect(ticked.touched).toBeLessThan(few)

    const [floors] =
      await database.query(`select (select max(seq) from tidemark.outbox)::text as new, (select min(seq) - 1 from tidemark.outbox where aggregateid = 'long')::text as done,
    pg_current_snapshot()::text as now`)
    const { new: floorNew, done, now } = floors as { new: string; done: string; now: string }
    const request = { tick: 99, prev: cur, cur: now, floorNew, releasing: false, skipping: false, after: done, limit: 1_000 }
    const paged = await readBy(relay.page(scope, request))
    expect(paged.scans).toEqual([])
    expect(paged.touched).toBeLessThan(few)
  },
)

test.each([1, 4])(
  'in a backlog of all rows, with %i stream(s), a page reads its own rows and those of other streams between them',
  async (streams) => {
    const [now] = await database.query('select pg_current_snapshot()::text as now')
    const request = {
      tick: 1,
      prev: '3:3:',
      cur: now!.now as string,
      floorNew: '0',
      releasing: false,
      skipping: false,
      after: '5000',
      limit: 1_000,
    }
    const paged = await readBy(relay.page({ schema: '"tidemark"', stream: 0, streams }, request))
    expect(paged.scans).toEqual([])
    expect(paged.touched).toBeLessThan(2_000 * streams)
  },
)

test('the connection of the stream is given back', async () => {
  await stream.close('stopped')
})
