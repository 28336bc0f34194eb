import { expect, test } from 'vitest'
import { event, service } from '../../src/index.ts'
import { postgres, postgresBroker } from '../../src/drivers/postgres/index.ts'
import { memory, memoryBroker } from '../../src/drivers/memory/index.ts'
import type { OperationKind } from '../../src/operation/index.ts'
import { z } from 'zod'
import { redriveParams } from '../../src/dead-letter/index.ts'
import { testDatabase } from '../support/postgres.ts'
import { until } from '../support/until.ts'

const Counted = event('Counted', { aggregate: 'counter', key: ({ key }) => key, schema: z.object({ key: z.string() }) })
const ada = { id: 'ada', roles: ['operator'] }
const eve = { id: 'eve', roles: [] }
const { connectionString } = await testDatabase('service_operations')

/** Counts its items, one a step. */
function tally(seen: number[]): OperationKind {
  return {
    name: 'tally',
    effect: 'idempotent',
    plan: async ({ items }) => ({ count: Number(items), summary: {} }),
    async *freeze({ params }) {
      yield Array.from({ length: Number(params['items']) }, (_, n) => ({ group: null, data: { n } }))
    },
    step: async (items) =>
      items.map(({ place, data }) => {
        seen.push(Number(data['n']))
        return { place, outcome: 'done' }
      }),
  }
}

const platforms = {
  memory: () => ({ database: memory(), broker: memoryBroker() }),
  postgres: () => ({
    database: postgres({ connectionString: connectionString() }),
    broker: postgresBroker({ connectionString: connectionString() }),
  }),
}

test.each(['memory', 'postgres'] as const)('on %s a service works on what its desk has started, its own kinds included', async (name) => {
  const platform = platforms[name]()
  const seen: number[] = []
  const authorize = ({ roles }: { readonly roles: readonly string[] }): boolean => roles.includes('operator')
  const shop = service('shop', { ...platform, authorize, operations: { kinds: [tally(seen)], idleMs: 10 } })
  const { id } = await shop.operations.start('tally', { items: 3 }, { actor: ada, reason: 'to see' })
  await shop.start()
  const states = []
  for await (const { state } of shop.operations.watch(id, { everyMs: 5 })) states.push(state)
  expect(states.at(-1)).toBe('done')
  expect(seen).toEqual([0, 1, 2])
  await expect(shop.operations.start('tally', { items: 1 }, { actor: eve })).rejects.toMatchObject({ code: 'NOT_ALLOWED' })
  expect((await shop.audit.list({ outcome: 'refused' })).map(({ actor }) => actor.id)).toEqual(['eve'])
  expect((await shop.operations.preview('redrive', {}, { actor: ada })).count).toBe(0)
  await shop.stop()
  await platform.broker.close()
})

test('a service that only publishes does not look for operations, and one that consumes can be told not to', async () => {
  const platform = platforms.memory()
  const shop = service('shop', { ...platform, operations: { run: false, kinds: [tally([])] } })
  shop.consume(Counted, () => undefined)
  const { id } = await shop.operations.start('tally', { items: 1 }, { actor: ada })
  await shop.start()
  await shop.settled()
  await shop.stop()
  await using other = service('shop', { ...platform, operations: { kinds: [tally([])], idleMs: 5 } })
  expect((await other.operations.get(id)).state).toBe('freezing')
  await other.start()
  for await (const { state } of other.operations.watch(id, { everyMs: 5 })) if (state === 'done') break
})

test('wrong settings of operations are refused at the call', () => {
  expect(() => service('shop', { operations: { kinds: [{}] as never } })).toThrow('operations.kinds')
  expect(() => service('shop', { operations: { leaseMs: 1 } })).toThrow('operations.leaseMs')
  const kinds = [{ ...tally([]), name: 'redrive' }]
  expect(() => service('shop', { operations: { kinds } })).toThrow('Two kinds of operations have the name "redrive".')
})

test.each(['memory', 'postgres'] as const)('on %s a redrive ends when its letters are handled, and says so', async (name) => {
  const { database, broker } = platforms[name]()
  const consumer = { retry: { maxAttempts: 1, baseDelayMs: 1 } }
  const billing = service('billing', { database, broker, consumer, partitions: 2, operations: { idleMs: 10 } })
  let isMended = false
  const handled: string[] = []
  billing.consume(Counted, ({ data }) => {
    if (!isMended || data.key === 'worst') throw new TypeError('cannot be handled')
    handled.push(data.key)
  })
  await billing.start()
  const keys = ['a', 'b', 'c', 'd', 'worst']
  for (const key of keys) await billing.transaction((tx) => billing.publish(tx, Counted, { key }))
  await until('all are dead', async () => (await billing.deadLetters.getDeadLetterStats()).totalCount === 5)
  isMended = true
  const params = redriveParams({ filter: { types: ['Counted'] } })
  const preview = await billing.operations.preview('redrive', params, { actor: ada })
  expect(preview).toMatchObject({ count: 5, summary: { keys: 5, schemaProblems: [] } })
  const settings = { canary: [1], maxFailures: 0.5 }
  const { id } = await billing.operations.start('redrive', params, { actor: ada, reason: 'mended', settings })
  for await (const { state } of billing.operations.watch(id, { everyMs: 10 })) if (state === 'done') break
  expect((await billing.operations.get(id)).counts).toEqual({ done: 4, failed: 1, skipped: 0, started: 0 })
  expect(await billing.operations.items(id, { outcomes: ['failed'] })).toMatchObject([{ reason: 'it died again: TypeError' }])
  // Beside one that fails they may have run twice; their effects are there once.
  expect([...new Set(handled)].toSorted()).toEqual(['a', 'b', 'c', 'd'])
  await billing.stop()
  await broker.close()
})
