import fc from 'fast-check'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type Handler, onMessage } from '../../src/consumer/index.ts'
import { Execution } from '../../src/consumer/batch/execution.ts'
import type { Call } from '../../src/consumer/batch/call.ts'
import { handlerCall } from './support/handler-call.ts'
import { executionSettings } from './support/execution-settings.ts'
import { PostgresBatch } from '../../src/drivers/postgres/postgres-batch.ts'
import type { BatchTransaction } from '../../src/consumer/port.ts'
import { Counted, consumerDatabase } from './support/consumer-database.ts'

/**
 * What running handlers side by side may never do: come to another end than running them one after the other. Random handlers on random keys
 * read and write shared rows in several steps, with pauses between them; whatever the fast way lets through must equal the slow one.
 */

const { database } = await consumerDatabase('serial')
await database.query('create table cell (name text primary key, value int not null)')
await database.query('create table log (place bigint generated always as identity, entry text not null)')

const cells = ['x', 'y', 'z']
const open = new Set<BatchTransaction>()

beforeEach(() => database.query('truncate cell, log'))
afterEach(() => Promise.all([...open].map((batch) => batch.rollBack())))

/** One step of a handler. Reads decide what is written later, so that every order of steps shows. */
type Step = { readonly do: 'pause' } | { readonly do: 'read' | 'write' | 'log' | 'write unawaited'; readonly cell: string }

const step = fc.oneof(
  { arbitrary: fc.record({ do: fc.constantFrom('read', 'write', 'log', 'write unawaited'), cell: fc.constantFrom(...cells) }), weight: 5 },
  { arbitrary: fc.record({ do: fc.constant('pause') }), weight: 1 },
) as fc.Arbitrary<Step>
const program = fc.record({ key: fc.constantFrom('a', 'b', 'c', 'd'), steps: fc.array(step, { minLength: 0, maxLength: 4 }) })
// Handlers of one statement are what the fast way is for, so there must be enough batches of them.
const simple = fc.record({ key: fc.constantFrom('a', 'b', 'c', 'd'), steps: fc.tuple(step) })
const batches = fc.oneof(fc.array(program, { minLength: 2, maxLength: 8 }), fc.array(simple, { minLength: 2, maxLength: 8 }))

interface Program {
  readonly key: string
  readonly steps: readonly Step[]
}

function handlerOf(programs: readonly Program[]): Handler {
  return onMessage(Counted, async ({ data: { n } }, { tx }) => {
    let seen = n + 1
    for (const { do: what, ...rest } of programs[n]!.steps) {
      const cell = 'cell' in rest ? rest.cell : ''
      if (what === 'pause') await new Promise((resolve) => setTimeout(resolve, n % 3))
      else if (what === 'read')
        seen = (seen * 31 + Number((await tx.query('select value from cell where name = $1', [cell]))[0]!['value'])) % 9_973
      else if (what === 'log') await tx.query('insert into log (entry) values ($1)', [`${n}:${seen}`])
      else {
        const written = tx.query('update cell set value = (value * 7 + $2) % 9973 where name = $1', [cell, seen])
        if (what === 'write') await written
      }
    }
  })
}

function callsOf(programs: readonly Program[], exclusive: boolean): Call[] {
  const handler = handlerOf(programs)
  return programs.map(({ key }, n) =>
    handlerCall(
      handler,
      {
        id: `${n}`,
        type: 'Counted',
        source: 's',
        time: new Date(0),
        key,
        data: { key, n },
        schemaVersion: 1,
        correlationId: 'c',
        headers: {},
        topic: 't',
        partition: 0,
        offset: n,
      },
      exclusive ? 'alone' : 'beside others',
    ),
  )
}

/** The state the batch leaves inside its transaction; `null` when it was abandoned. */
async function stateAfter(programs: readonly Program[], exclusive: boolean): Promise<string | null> {
  const lane = { group: 'g', topic: 't', topicId: 'i', partition: 0, lane: 0 }
  const batch = new PostgresBatch(await database.lease(), { schema: 'tidemark', lane, standstillMs: 5_000 })
  open.add(batch)
  await batch.tx.query(`insert into cell select unnest($1::text[]), 1`, [cells])
  const done = await new Execution(callsOf(programs, exclusive), batch, executionSettings()).run()
  const state =
    done.outcome !== 'done'
      ? null
      : JSON.stringify([
          await batch.tx.query('select * from cell order by name'),
          await batch.tx.query('select entry from log order by place'),
        ])
  await batch.rollBack()
  open.delete(batch)
  return state
}

test('handlers run side by side come to the same end as one after the other, or are abandoned', async () => {
  let together = 0
  let abandoned = 0
  await fc.assert(
    fc.asyncProperty(batches, async (programs) => {
      const serial = await stateAfter(programs, true)
      const fast = await stateAfter(programs, false)
      if (fast === null) abandoned += 1
      else together += 1
      if (fast !== null) expect(fast).toBe(serial)
    }),
    { numRuns: 400 },
  )
  // Both must be common, or this test has tested nothing.
  expect(together).toBeGreaterThan(50)
  expect(abandoned).toBeGreaterThan(50)
})

test('messages of one key never run at the same time', async () => {
  const running = new Set<string>()
  let most = 0
  const watching = onMessage(Counted, async ({ data: { key } }, { tx }) => {
    if (running.has(key)) throw new Error('overlap')
    running.add(key)
    most = Math.max(most, running.size)
    await tx.query('select 1')
    running.delete(key)
  })
  const programs = Array.from({ length: 60 }, (_, n) => ({ key: ['a', 'b', 'c'][n % 3]!, steps: [] }))
  const batch = new PostgresBatch(await database.lease(), {
    schema: 'tidemark',
    lane: { group: 'g', topic: 't', topicId: 'i', partition: 0, lane: 0 },
    standstillMs: 5_000,
  })
  open.add(batch)
  const calls = callsOf(programs, false).map((call) => ({ ...call, handler: watching }))
  const done = await new Execution(calls, batch, executionSettings()).run()
  expect(done.outcome).toBe('done')
  expect(most).toBe(3)
})
