import { event, service } from 'tidemark'
import { memory, memoryBroker, memoryView } from 'tidemark/memory'
import { postgres } from 'tidemark/postgres'
import { handledTwice, testMessage } from 'tidemark/testing'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { testDatabase } from '../support/postgres.ts'

const OrderPlaced = event('OrderPlaced', {
  aggregate: 'order',
  key: ({ orderId }) => orderId,
  schema: z.object({ orderId: z.string(), total: z.number() }),
})
const message = testMessage(OrderPlaced, { orderId: 'o-1', total: 42 })

const { connectionString } = await testDatabase('handled_twice')
const stock = service('stock', { database: postgres({ connectionString: connectionString() }), broker: memoryBroker() })
afterAll(() => stock.stop())
beforeAll(() => stock.query('create table invoice (id text, total int, seen_at timestamptz)'))
beforeEach(() => stock.query('truncate invoice'))

describe('on Postgres, over all tables', () => {
  test('a handler that upserts passes', async () => {
    await stock.query('create table if not exists total (id text primary key, total int)')
    await handledTwice({
      on: stock,
      message,
      handler: async ({ data }, { tx, now, uuid, random }) => {
        await tx.query('insert into total values ($1, $2) on conflict (id) do update set total = excluded.total', [
          data.orderId,
          data.total,
        ])
        const chance = [now().getTime(), uuid(), random()].join()
        await tx.query('insert into total values ($1, 0) on conflict do nothing', [chance])
      },
    })
  })

  test('one that inserts fails, and the row is shown', async () => {
    const failing = handledTwice({
      on: stock,
      message,
      handler: async ({ data }, { tx }) =>
        void (await tx.query('insert into invoice (id, total) values ($1, $2)', [data.orderId, data.total])),
    })
    await expect(failing).rejects.toMatchObject({
      name: 'AssertionError',
      message: expect.stringMatching(
        /not idempotent by nature: OrderPlaced[^]*public\.invoice\n\s+\+ \{ id: 'o-1', seen_at: null, total: 42 \}/,
      ) as string,
    })
  })

  test('one that adds up fails, and both states of the row are shown', async () => {
    await stock.query(`insert into invoice values ('o-1', 0)`)
    const failing = handledTwice({
      on: stock,
      message,
      handler: async ({ data }, { tx }) => void (await tx.query('update invoice set total = total + $1', [data.total])),
    })
    await expect(failing).rejects.toThrow(/- \{ id: 'o-1', seen_at: null, total: 42 \}[^]*\+ \{ id: 'o-1', seen_at: null, total: 84 \}/)
  })

  test('columns that may change are left out by name', async () => {
    await stock.query(`insert into invoice values ('o-1', 0)`)
    const touching = {
      on: stock,
      message,
      handler: async (_: unknown, { tx }: { tx: { query(text: string): Promise<unknown> } }) =>
        void (await tx.query('update invoice set seen_at = clock_timestamp()')),
    }
    await expect(handledTwice(touching)).rejects.toThrow('seen_at')
    await handledTwice({ ...touching, ignore: ['seen_at'] })
    await handledTwice({ ...touching, ignore: ['invoice.seen_at'] })
    await expect(handledTwice({ ...touching, ignore: ['another.seen_at'] })).rejects.toThrow('seen_at')
  })

  test('one that publishes each time fails', async () => {
    const failing = handledTwice({ on: stock, message, handler: ({ data }, { tx }) => stock.publish(tx, OrderPlaced, data) })
    await expect(failing).rejects.toThrow(/messages published\n\s+- 1\n\s+\+ 2/)
  })

  test('what a handler throws is thrown on', async () => {
    const failing = handledTwice({ on: stock, message, handler: () => Promise.reject(new Error('no')) })
    await expect(failing).rejects.toThrow('no')
  })
})

test('in memory, with a snapshot of the caller’s', async () => {
  const database = memory()
  const billing = service('billing', { database, broker: memoryBroker() })
  const on = { on: billing, message, snapshot: () => Object.fromEntries(database.entries()) }
  await handledTwice({ ...on, handler: ({ data }, { tx }) => memoryView(tx).set(data.orderId, data.total) })
  const counting = handledTwice({
    ...on,
    handler: (_, { tx }) => memoryView(tx).set('count', Number(memoryView(tx).get('count') ?? 0) + 1),
  })
  await expect(counting).rejects.toThrow(/count\n\s+- 1\n\s+\+ 2/)
  await billing.stop()
})
