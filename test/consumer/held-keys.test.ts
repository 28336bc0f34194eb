import { afterAll, expect, test } from 'vitest'
import { type Service, type ServiceOptions, TidemarkError, event, service } from 'tidemark'
import { PostgresDatabase, postgres, postgresBroker } from 'tidemark/postgres'
import { z } from 'zod'
import { testDatabase } from '../support/postgres.ts'
import { until } from '../support/until.ts'

const { connectionString } = await testDatabase('held_keys')
const connection = { connectionString: connectionString() }
const log = postgresBroker(connection)
const database = new PostgresDatabase(connection)
afterAll(async () => {
  await log.close()
  await database.close()
})
await database.query('create table effect (id int generated always as identity, key text, n int)')
const Changed = event('Changed', { aggregate: 'thing', key: ({ key }) => key, schema: z.object({ key: z.string(), n: z.number() }) })

type Work = (data: { readonly key: string; readonly n: number }) => Promise<void>

function bank(work: Work = () => Promise.resolve(), options: ServiceOptions = {}): Service {
  return service('bank', { database: postgres(connection), broker: log, partitions: 3, ...options }).consume(
    Changed,
    async ({ data }, { tx }) => {
      await work(data)
      await tx.query('insert into effect (key, n) values ($1, $2)', [data.key, data.n])
    },
  )
}

function publish(of: Service, key: string, ...all: readonly number[]): Promise<void> {
  return of.transaction((tx) =>
    of.publishAll(
      tx,
      all.map((n) => ({ event: Changed, data: { key, n } })),
    ),
  )
}

async function effects(key: string): Promise<readonly number[]> {
  return (await database.query('select n from effect where key = $1 order by id', [key])).map(({ n }) => Number(n))
}

test('messages of a held key wait in order while others flow, over a restart, and take effect in order after the release', async () => {
  const first = bank()
  await first.start()
  await publish(first, 'k', 1)
  await until('it has its effect', async () => (await effects('k')).length === 1)
  const held = await first.keys.hold(Changed, 'k', { actor: 'ada', reason: 'two customers are merged' })
  expect(held).toMatchObject({ group: 'bank', topic: Changed.topic, partitions: [0, 1, 2], by: 'ada', messages: 0 })
  await publish(first, 'k', 2, 3)
  for (const other of ['a', 'b', 'c']) await publish(first, other, 1)
  await first.settled()
  expect(await Promise.all(['k', 'a', 'b', 'c'].map(effects))).toEqual([[1], [1], [1], [1]])
  await first.stop()

  const second = bank()
  await second.start()
  await publish(second, 'k', 4)
  await publish(second, 'a', 2)
  await second.settled()
  expect(await Promise.all(['k', 'a'].map(effects))).toEqual([[1], [1, 2]])
  expect(await second.keys.list()).toMatchObject([{ key: Buffer.from('k'), reason: 'two customers are merged', messages: 3 }])
  expect((await second.status()).groups[0]!.splitKeys).toEqual([])
  expect(await second.keys.release(Changed, 'k', { actor: 'ada' })).toBe(true)
  await publish(second, 'k', 5)
  await until('all have their effect', async () => (await effects('k')).length === 5)
  expect(await effects('k')).toEqual([1, 2, 3, 4, 5])
  expect(await second.keys.list()).toEqual([])
  expect(await second.keys.release(Changed, 'k')).toBe(false)
  await until('nothing is left of it', async () => (await database.query('select from tidemark.parked_key')).length === 0)
  await second.stop()
})

test('a message whose handler runs already when its key is held takes effect after the release, and once', async () => {
  let runs = 0
  let goOn = (): void => undefined
  const isHeld = new Promise<void>((resolve) => (goOn = resolve))
  const running = bank(async ({ key }) => {
    if (key === 'late' && ++runs === 1) await isHeld
  })
  await running.start()
  await publish(running, 'late', 1)
  await until('its handler runs', () => runs === 1)
  await running.keys.hold(Changed, 'late')
  goOn()
  await until('it waits', async () => (await running.keys.list())[0]!.messages === 1)
  expect(await effects('late')).toEqual([])
  await running.keys.release(Changed, 'late')
  await until('it has its effect', async () => (await effects('late')).length > 0)
  await running.settled()
  expect([await effects('late'), runs]).toEqual([[1], 2])
  await running.stop()
})

test('who may not hold a key is refused, with a line; a topic that the group does not read is not known', async () => {
  const { keys, audit, stop } = ((one: Service) => ({ keys: one.keys, audit: one.audit, stop: () => one.stop() }))(
    bank(undefined, { authorize: ({ roles }, verb) => verb !== 'key.hold' || roles.includes('operator') }),
  )
  const isCode = (code: string) => (error: unknown) => TidemarkError.is(error) && error.code === code
  await expect(keys.hold(Changed, 'k', { actor: 'eve' })).rejects.toSatisfy(isCode('NOT_ALLOWED'))
  const actor = { id: 'ada', roles: ['operator'] }
  await expect(keys.hold('another', 'k', { actor })).rejects.toSatisfy(isCode('TOPIC_UNKNOWN'))
  await keys.hold(Changed, 'k', { actor })
  await keys.release(Changed, 'k', { actor: 'eve' })
  const lines = await audit.list({ target: { type: 'key', id: `${Changed.topic}/k` } })
  expect(lines.slice(0, 3).map((line) => [line.actor.id, line.verb, line.outcome, line.details])).toEqual([
    ['eve', 'key.release', 'done', { group: 'bank' }],
    ['ada', 'key.hold', 'done', { group: 'bank' }],
    ['eve', 'key.hold', 'refused', { group: 'bank' }],
  ])
  await stop()
})
