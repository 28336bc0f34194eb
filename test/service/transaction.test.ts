import fc from 'fast-check'
import type pg from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type Service, type Transaction, event, service } from 'tidemark'
import { memory, memoryBroker } from 'tidemark/memory'
import { PostgresDatabase, postgres } from 'tidemark/postgres'
import { z } from 'zod'
import { deferred } from '../../src/internal/deferred.ts'
import { runSteps, savepointSteps } from '../support/savepoint-steps.ts'
import { testDatabase } from '../support/postgres.ts'

const Noted = event('Noted', {
  aggregate: 'note',
  key: (note) => note.id,
  schema: z.object({ id: z.string(), words: z.number().nonnegative() }),
})

const database = await testDatabase('transaction')
// One connection: whatever reaches it late meets somebody else's transaction.
const shop: Service = service('shop', {
  database: postgres({ connection: () => database.connection(), maxConnections: 1 }),
  broker: memoryBroker(),
})

beforeAll(async () => void (await shop.query('create table note (id text primary key)')))
beforeEach(async () => void (await shop.query('truncate note, tidemark.outbox')))
afterAll(() => shop.stop())

const insertNote = 'insert into note values ($1)'
const idsOf = (rows: readonly Record<string, unknown>[]): unknown[] => rows.map((row) => row['id'])
const notes = async (): Promise<unknown[]> => idsOf(await shop.query('select id from note order by id'))
const published = async (): Promise<unknown[]> => idsOf(await shop.query('select aggregateid as id from tidemark.outbox order by seq'))
const publish = (tx: Transaction, id: string, words = 1): Promise<void> => shop.publish(tx, Noted, { id, words })

describe('a rollback to a savepoint', () => {
  test('takes back what was published since', async () => {
    await shop.transaction(async (tx) => {
      await publish(tx, 'before')
      await tx.query('savepoint "S"')
      await publish(tx, 'undone')
      await tx.query('select 1/0').catch(() => undefined)
      await tx.query('/* undo */ rollback to savepoint "S";')
      await publish(tx, 'after')
    })
    expect(await published()).toEqual(['before', 'after'])
  })

  test('takes back a publish that was refused', async () => {
    await shop.transaction(async (tx) => {
      await tx.query('savepoint s')
      await publish(tx, 'bad', -1).catch(() => undefined)
      await tx.query('rollback to s')
      await publish(tx, 'good')
    })
    expect(await published()).toEqual(['good'])
  })

  test('is followed without being awaited', async () => {
    await shop.transaction(async (tx) => {
      void tx.query('savepoint s')
      void publish(tx, 'undone')
      void tx.query('rollback to s')
      void publish(tx, 'after')
    })
    expect(await published()).toEqual(['after'])
  })

  test('in any nesting leaves exactly the events of the rows that stay', async () => {
    let run = 0
    let takenBack = 0
    let aborted = 0
    await fc.assert(
      fc.asyncProperty(savepointSteps, async (steps) => {
        const name = `r${run++}`
        const all = steps.filter(({ do: what }) => what === 'publish').length
        const outcome = await shop
          .transaction((tx) => runSteps(steps, tx, name, (id) => Promise.all([tx.query(insertNote, [id]), publish(tx, id)])))
          .then(
            () => 'committed' as const,
            () => 'aborted' as const,
          )
        const [rows, events] = [await notes(), await published()]
        await shop.query('truncate note, tidemark.outbox')
        expect([...events].sort()).toEqual(rows)
        if (outcome === 'aborted') {
          expect(rows).toEqual([])
          aborted += 1
        } else if (rows.length < all) takenBack += 1
      }),
      { numRuns: 300 },
    )
    // Both must be common, or this test has tested nothing.
    expect(takenBack).toBeGreaterThan(50)
    expect(aborted).toBeGreaterThan(10)
  })

  test('whose savepoint the client itself made fails the transaction', async () => {
    const failing = shop.transaction(async (tx) => {
      await (tx.raw as pg.ClientBase).query('savepoint s')
      await publish(tx, 'undone')
      await tx.query('rollback to s')
    })
    await expect(failing).rejects.toMatchObject({ code: 'INPUT_INVALID', message: expect.stringContaining('tx.query') })
    expect(await published()).toEqual([])
  })

  test('in a text of several commands is refused, and nothing of it is sent', async () => {
    await shop.transaction(async (tx) => {
      await tx.query('savepoint s')
      const several = `insert into note values ('x'); rollback to s`
      await expect(tx.query(several)).rejects.toMatchObject({ code: 'INPUT_INVALID' })
      await tx.query(`insert into note values ('a;'); insert into note values ('b')`)
    })
    expect(await notes()).toEqual(['a;', 'b'])
  })
})

test.each([
  'commit',
  'rollback',
  'begin',
  `insert into note values ('b'); commit; begin`,
  `insert into note values ('b') ; /* ; */ COMMIT`,
])('a command that would end it is refused, and the transaction goes on: %s', async (text) => {
  const failing = shop.transaction(async (tx) => {
    await tx.query(insertNote, ['a'])
    await expect(tx.query(text)).rejects.toMatchObject({ code: 'INPUT_INVALID' })
    expect(idsOf(await tx.query('select id from note'))).toEqual(['a'])
    throw new Error('undo')
  })
  await expect(failing).rejects.toThrow('undo')
  expect(await notes()).toEqual([])
})

describe('after the work has ended', () => {
  test.each(['failing', 'committed'])('nothing asked in a %s transaction reaches the connection', async (how) => {
    const gate = deferred()
    const late: Promise<unknown>[] = []
    let kept: Transaction | null = null
    const work = (tx: Transaction): Promise<unknown> => {
      kept = tx
      const later = async (): Promise<void> => {
        await gate.promise
        late.push(tx.query(insertNote, ['late']), publish(tx, 'late'))
        await Promise.all(late)
      }
      const soon = how === 'failing' ? Promise.reject(new Error('soon')) : tx.query('select 1')
      return how === 'failing' ? Promise.all([soon, later()]) : Promise.race([soon, later()])
    }
    const [outcome] = await Promise.allSettled([shop.transaction(work)])
    expect(outcome.status).toBe(how === 'failing' ? 'rejected' : 'fulfilled')
    // Somebody else has the connection now.
    await shop.transaction(async (tx) => {
      await tx.query(insertNote, ['theirs'])
      gate.resolve()
      await tx.query('select pg_sleep(0.05)')
    })
    expect(late).toHaveLength(2)
    for (const refused of late) await expect(refused).rejects.toMatchObject({ code: 'TRANSACTION_CLOSED' })
    expect(() => kept!.raw).toThrow(expect.objectContaining({ code: 'TRANSACTION_CLOSED' }))
    expect(await notes()).toEqual(['theirs'])
    expect(await published()).toEqual([])
  })

  test('what was asked before, though not awaited, is part of the transaction', async () => {
    await shop.transaction(async (tx) => {
      void tx.query(insertNote, ['a'])
      void publish(tx, 'a')
    })
    expect([await notes(), await published()]).toEqual([['a'], ['a']])
  })

  test('what was asked before and fails takes the transaction along, and its rejection ends no process', async () => {
    const failing = shop.transaction(async (tx) => {
      void tx.query(insertNote, ['a'])
      void tx.query('select 1/0')
    })
    await expect(failing).rejects.toMatchObject({ code: 'TRANSACTION_ABORTED' })
    expect(await notes()).toEqual([])
  })

  test('what follows from it too late makes the transaction fail as a whole', async () => {
    const late: unknown[] = []
    const failing = shop.transaction(async (tx) => {
      tx.query(insertNote, ['a'])
        .then(() => tx.query(insertNote, ['b']))
        .catch((error: unknown) => late.push(error))
    })
    await expect(failing).rejects.toMatchObject({ code: 'TRANSACTION_CLOSED' })
    expect(late).toMatchObject([{ code: 'TRANSACTION_CLOSED' }])
    expect(await notes()).toEqual([])
  })

  test('of a database without a service nothing reaches the connection either', async () => {
    const own = new PostgresDatabase({ connection: () => database.connection(), maxConnections: 1 })
    const kept = await own.transaction(async (tx) => tx)
    await expect(kept.query(insertNote, ['late'])).rejects.toMatchObject({ code: 'TRANSACTION_CLOSED' })
    expect(() => kept.raw).toThrow(expect.objectContaining({ code: 'TRANSACTION_CLOSED' }))
    await own.close()
    expect(await notes()).toEqual([])
  })

  test('a memory database takes nothing either', async () => {
    const gate = deferred()
    const late: Promise<unknown>[] = []
    const store = memory()
    const own = service('shop', { database: store, broker: memoryBroker() })
    const later = async (tx: Transaction): Promise<void> => {
      await gate.promise
      late.push(tx.query('select 1'), own.publish(tx, Noted, { id: 'late', words: 1 }))
      expect(() => tx.raw).toThrow(expect.objectContaining({ code: 'TRANSACTION_CLOSED' }))
      await Promise.all(late)
    }
    const failing = own.transaction((tx) => Promise.all([Promise.reject(new Error('soon')), later(tx)]))
    await expect(failing).rejects.toThrow('soon')
    gate.resolve()
    await expect.poll(() => late.length).toBe(2)
    for (const refused of late) await expect(refused).rejects.toMatchObject({ code: 'TRANSACTION_CLOSED' })
    expect((await own.status()).outbox.pending).toBe(0)
    await own.stop()
  })
})
