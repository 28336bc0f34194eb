import { afterAll, beforeAll, expect, test } from 'vitest'
import { event, service, settled } from 'tidemark'
import { redriveKind, redriveParams } from 'tidemark/dead-letter'
import { Audit, Operations, runOperations } from 'tidemark/operation'
import {
  migrate,
  PostgresAlertStore,
  PostgresDatabase,
  PostgresDeadLetterStore,
  PostgresInboxStore,
  PostgresOperationStore,
  postgres,
  postgresBroker,
} from 'tidemark/postgres'
import { z } from 'zod'
import { grants } from '../../src/drivers/postgres/migrations/grants.ts'
import { testDatabase } from '../support/postgres.ts'

const Counted = event('Counted', { aggregate: 'counter', key: ({ key }) => key, schema: z.object({ key: z.string(), n: z.number() }) })

const database = await testDatabase('grants')
const admin = new PostgresDatabase({ connection: () => database.connection() })
/** Roles are the server's, not the database's: names of this run only. */
const prefix = database.name
const password = 'only for this test'
const as = (role: string) => () => ({ ...database.connection(), user: `${prefix}_${role}`, password })

beforeAll(async () => {
  for (const set of ['service', 'log'] as const) await migrate(admin, { set })
  for (const role of ['publisher', 'relay', 'consumer', 'operator', 'broker']) await admin.query(`create role ${prefix}_${role}`)
  for (const set of ['service', 'log'] as const) {
    for (const grant of grants(set, 'tidemark')) await admin.query(grant.replace(/ to (\w+);$/, ` to ${prefix}_$1`))
  }
  await admin.query(
    `create role ${prefix}_service login password '${password}' in role ${prefix}_publisher, ${prefix}_relay, ${prefix}_consumer`,
  )
  await admin.query(`create role ${prefix}_log login password '${password}' in role ${prefix}_broker`)
  await admin.query('create table seen (key text, n int)')
  await admin.query(`grant select, insert on seen to ${prefix}_service`)
})
afterAll(async () => {
  const roles = ['publisher', 'relay', 'consumer', 'operator', 'broker', 'service', 'log'].map((role) => `${prefix}_${role}`).join(', ')
  await admin.query(`drop owned by ${roles}`)
  await admin.query(`drop role ${roles}`)
  await admin.close()
})

test('the printed rights are enough to publish, relay, consume, dead-letter and queue, without owning a table', async () => {
  const log = postgresBroker({ connection: as('log'), migrate: false })
  const one = service('one', { database: postgres({ connection: as('service'), migrate: false }), broker: log })
  one.consume(Counted, async ({ data }, { tx }) => {
    if (data.key === 'poison' && data.n === 0) throw new TypeError('cannot be handled')
    await tx.query('insert into seen values ($1, $2)', [data.key, data.n])
  })
  await one.start()
  for (let n = 0; n < 3; n++) {
    await one.transaction((tx) =>
      one.publishAll(
        tx,
        ['good', 'poison'].map((key) => ({ event: Counted, data: { key, n } })),
      ),
    )
  }
  await settled([one])
  const seen = await one.query('select key, count(*)::int as n from seen group by key')
  const { groups } = await one.status()
  await one.stop()
  await log.close()
  expect(seen).toEqual([{ key: 'good', n: 3 }])
  expect(groups[0]!.consumer!.counts).toMatchObject({ deadLetters: 1, queued: 2 })
})

test('the printed rights of an operator are enough to look at dead letters, to change them, and to give them back', async () => {
  await admin.query(
    `insert into tidemark.consumer_position (group_name, topic, topic_id, partition, lane, lanes, next_offset) values ('g', 't', 'i', 0, 0, 1, 9)`,
  )
  await admin.query(
    `insert into tidemark.dead_letter (group_name, topic, topic_id, partition, log_offset, log_time, key, value, headers, policy, error_class, reason, attempts)
select 'g', 't', 'i', 0, n, now(), 'k', 'v', '[]', 'skip', 'Error', 'no', '[]' from generate_series(1, 2) n`,
  )
  await admin.query(`create role ${prefix}_desk login password '${password}' in role ${prefix}_operator`)
  const desk = new PostgresDatabase({ connection: as('desk') })
  const letters = new PostgresDeadLetterStore({ database: desk })
  const { letters: found } = await letters.list({ groups: ['g'] })
  const [first, second] = found.map(({ id }) => id)
  await letters.change(first!, { kind: 'assign', assignee: 'ada' }, { actor: 'ada' })
  await letters.edit(first!, { value: Buffer.from('w') }, { actor: 'ada', redrive: true })
  expect(await letters.redrive([{ id: second! }], { actor: 'ada' })).toMatchObject([{ outcome: 'redriven' }])
  expect(await new PostgresAlertStore({ database: desk }).contacts()).toBeInstanceOf(Array)
  await admin.query(`update tidemark.dead_letter set state = 'dead', redrives = 0 where group_name = 'g'`)
  const store = new PostgresOperationStore({ database: desk })
  const horizon = { inbox: () => Promise.resolve(new PostgresInboxStore({ database: desk })) }
  const kinds = [redriveKind({ store: () => Promise.resolve(letters), horizon })]
  const operations = new Operations({ store, kinds, audit: new Audit({ store }) })
  const [actor, settings] = [{ id: 'ada', roles: [] }, { observeMs: 0 }]
  const { id } = await operations.start('redrive', redriveParams({ filter: { groups: ['g'] } }), { actor, settings })
  const runner = runOperations({ store, kinds, idleMs: 10 })
  for await (const { state } of operations.watch(id, { everyMs: 10 })) if (state === 'done') break
  await runner.stop()
  expect((await operations.get(id)).counts).toMatchObject({ failed: 0, started: 2 })
  await desk.close()
  await admin.query(`drop role ${prefix}_desk`)
})

test('nobody but the owner may set the number or the transaction of an outbox row', async () => {
  const publisher = new PostgresDatabase({ connection: as('service') })
  const row = `gen_random_uuid(), 'a', 'b', 'c', ''`
  for (const column of ['xid', 'seq']) {
    const forged = publisher.query(
      `insert into tidemark.outbox (id, aggregatetype, aggregateid, type, payload, ${column}) values (${row}, '1')`,
    )
    await expect(forged).rejects.toMatchObject({ code: column === 'xid' ? '42501' : '428C9' })
  }
  await publisher.close()
})
