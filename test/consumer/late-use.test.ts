import type { Message } from '../../src/message/index.ts'
import fc from 'fast-check'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type MessageHandler, type Transaction, event, service } from 'tidemark'
import { memoryBroker } from 'tidemark/memory'
import { postgres } from 'tidemark/postgres'
import { z } from 'zod'
import { Execution, type ExecutionOutcome } from '../../src/consumer/batch/execution.ts'
import type { Call } from '../../src/consumer/batch/call.ts'
import { handlerCall } from './support/handler-call.ts'
import { executionSettings } from './support/execution-settings.ts'
import { type Handler, onMessage } from '../../src/consumer/index.ts'
import { PostgresDatabase } from '../../src/drivers/postgres/database.ts'
import { PostgresBatch } from '../../src/drivers/postgres/postgres-batch.ts'
import { deferred } from '../../src/internal/deferred.ts'
import { runSteps, savepointSteps, type SavepointStep } from '../support/savepoint-steps.ts'
import { testDatabase } from '../support/postgres.ts'

/**
 * Handlers that do not wait for what they start. All of it takes effect, or their message fails: never a part. An unhandled rejection would fail
 * this file, as it would end a process.
 */

const schema = z.object({ id: z.string(), words: z.number().nonnegative() })
const Asked = event('Asked', { aggregate: 'question', key: (asked) => asked.id, schema })
const Noted = event('Noted', { aggregate: 'note', key: (note) => note.id, schema })

const server = await testDatabase('late')
const database = new PostgresDatabase({ connection: () => server.connection(), maxConnections: 3 })
afterAll(() => database.close())

/** Handles so many messages in one service, and tells what they left. */
async function outcome(
  count: number,
  handlerOf: (publish: (tx: Transaction, id: string, words?: number) => Promise<void>) => MessageHandler<typeof Asked>,
) {
  await using asking = service('asking', {
    database: postgres({ connection: () => server.connection(), maxConnections: 6 }),
    broker: memoryBroker(),
    consumer: { retry: { maxAttempts: 3, baseDelayMs: 1 } },
  })
  asking.consume(
    Asked,
    handlerOf((tx, id, words = 1) => asking.publish(tx, Noted, { id, words })),
  )
  await asking.transaction(async (tx) => {
    for (let n = 0; n < count; n++) void asking.publish(tx, Asked, { id: `m${n}`, words: 1 })
  })
  await asking.start()
  await asking.settled()
  const ids = async (text: string): Promise<unknown[]> => (await asking.query(text)).map((row) => row['id'])
  return {
    rows: await ids('select id from note order by id'),
    events: await ids(`select aggregateid as id from tidemark.outbox where type = 'Noted' order by aggregateid`),
    dead: await ids('select error_class as id from tidemark.dead_letter order by log_offset'),
  }
}

const insertNote = 'insert into note values ($1)'
const sorted = (count: number, parts: readonly string[]): string[] =>
  Array.from({ length: count }, (_, n) => parts.map((part) => `m${n}${part}`))
    .flat()
    .sort()

beforeAll(async () => {
  await database.query('create table note (id text)')
  // The first opening makes the tables.
  await outcome(0, () => () => undefined)
})
beforeEach(async () => {
  await database.query(
    'truncate note, tidemark.outbox, tidemark.consumer_position, tidemark.inbox, tidemark.parked_key, tidemark.parked_msg, tidemark.dead_letter cascade',
  )
})

describe('a handler that returns at once', () => {
  test('keeps what it asked for and published', async () => {
    const { rows, events, dead } = await outcome(20, (publish) => ({ data: { id } }, { tx }) => {
      void tx.query(insertNote, [id])
      publish(tx, id).catch(() => undefined)
    })
    expect([rows, events, dead]).toEqual([sorted(20, ['']), sorted(20, ['']), []])
  })

  test('and whose publish is refused has failed, though it takes no notice', async () => {
    const { rows, events, dead } = await outcome(10, (publish) => ({ data: { id } }, { tx }) => {
      void tx.query(insertNote, [id])
      void publish(tx, id, id === 'm3' ? -1 : 1)
    })
    const others = sorted(10, ['']).filter((id) => id !== 'm3')
    expect([rows, events, dead]).toEqual([others, others, ['EVENT_INVALID']])
  })

  test('and goes on by itself has all of its statements, and its event', async () => {
    const { rows, events, dead } = await outcome(20, (publish) => ({ data: { id } }, { tx }) => {
      void tx
        .query(insertNote, [`${id}.a`])
        .then(() => tx.query(insertNote, [`${id}.b`]))
        .then(() => tx.query(insertNote, [`${id}.c`]))
        .then(() => publish(tx, id))
    })
    expect([rows, events, dead]).toEqual([sorted(20, ['.a', '.b', '.c']), sorted(20, ['']), []])
  })
})

test('what a handler leaves behind that begins only after a while of microtasks is done as a whole', async () => {
  const { rows, dead } = await outcome(1, () => async ({ data: { id } }, { tx }) => {
    await tx.query('select 1')
    const record = async (): Promise<void> => {
      for (let i = 0; i < 50; i++) await Promise.resolve()
      await tx.query(insertNote, [`${id}.a`])
      await tx.query(insertNote, [`${id}.b`])
    }
    void record()
  })
  expect([rows, dead]).toEqual([sorted(1, ['.a', '.b']), []])
})

test('what a handler starts beside what it waits for is done as a whole', async () => {
  const { rows, events, dead } = await outcome(20, (publish) => async ({ data: { id } }, { tx }) => {
    const record = async (): Promise<void> => {
      await tx.query(insertNote, [`${id}.a`])
      await tx.query(insertNote, [`${id}.b`])
      await publish(tx, id)
    }
    void record()
    await tx.query(insertNote, [`${id}.c`])
  })
  expect([rows, events, dead]).toEqual([sorted(20, ['.a', '.b', '.c']), sorted(20, ['']), []])
})

test('savepoints in handlers leave exactly the events of the rows that stay', async () => {
  const programs: readonly (readonly SavepointStep[])[] = fc.sample(savepointSteps, { numRuns: 150, seed: 7 })
  const tried = new Set<string>()
  const { rows, events } = await outcome(programs.length, (publish) => async ({ data: { id } }, { tx }) => {
    const both = (one: string): Promise<unknown> => {
      tried.add(one)
      return Promise.all([tx.query(insertNote, [one]), publish(tx, one)])
    }
    await runSteps(programs[Number(id.slice(1))]!, tx, id, both)
  })
  expect(events).toEqual(rows)
  expect(rows.length).toBeGreaterThan(100)
  expect(tried.size - rows.length).toBeGreaterThan(100)
})

describe('what comes after the end of its handler', () => {
  /** Two handlers in one transaction; the second one waits for the first one's late statement. */
  async function lateIn(exclusive: boolean): Promise<{ readonly outcome: ExecutionOutcome; readonly isRefused: boolean }> {
    const batch = new PostgresBatch(await database.lease(), {
      schema: 'tidemark',
      lane: { group: 'g', topic: 't', topicId: 'i', partition: 0, lane: 0 },
      standstillMs: 5_000,
    })
    try {
      let first: Transaction | null = null
      let isRefused = false
      const asked = deferred()
      const handler = onMessage(Asked, async ({ data: { words } }, { tx }) => {
        await tx.query('select 1')
        first ??= tx
        if (words === 0) return
        first.query(insertNote, ['late']).catch((error: unknown) => {
          isRefused = true
          expect(error).toMatchObject({ code: 'TRANSACTION_CLOSED' })
        })
        asked.resolve()
      })
      const calls = [0, 1].map((n) => callOf(handler, n, exclusive))
      const outcome = await new Execution(calls, batch, executionSettings()).run()
      await asked.promise
      return { outcome, isRefused }
    } finally {
      await batch.rollBack()
    }
  }

  test('fails its message where handlers run one by one', async () => {
    const { outcome, isRefused } = await lateIn(true)
    expect(outcome).toMatchObject({ outcome: 'failed', call: { messages: [{ id: '0' }] }, error: { code: 'TRANSACTION_CLOSED' } })
    expect(isRefused).toBe(true)
  })

  test('has the batch done again one by one where they run side by side, and needs no answer', async () => {
    const { outcome, isRefused } = await lateIn(false)
    expect(outcome).toMatchObject({ outcome: 'abandoned', by: { name: 'Asked' } })
    expect(isRefused).toBe(false)
  })
})

function callOf(handler: Handler, n: number, exclusive: boolean): Call {
  const message: Message = {
    id: `${n}`,
    type: 'Asked',
    source: 's',
    time: new Date(0),
    // One key, so that the second starts when the first has ended.
    key: 'k',
    data: { id: 'k', words: n },
    schemaVersion: 1,
    correlationId: 'c',
    headers: {},
    topic: 't',
    partition: 0,
    offset: n,
  }
  return handlerCall(handler, message, exclusive ? 'alone' : 'beside others')
}
