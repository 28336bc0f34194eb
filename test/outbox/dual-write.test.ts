import { beforeEach, expect, test } from 'vitest'
import { runRelay } from '../../src/outbox/index.ts'
import { message, outboxDatabase } from './support/outbox-database.ts'
import { until } from '../support/until.ts'
import { WireRecorder } from './support/wire-recorder.ts'

const { database, store, reset } = await outboxDatabase('dual_write')
await WireRecorder.create(database)
await database.query('create table orders (id text primary key)')

/** The broker as a service would call it itself, beside its database. */
class DirectBroker {
  readonly published: string[] = []
  down = false

  publish(id: string): void {
    if (this.down) throw new Error('the broker is down')
    this.published.push(id)
  }
}

class Crash extends Error {}

beforeEach(async () => {
  await reset()
  await database.query('truncate wire, wire_owner, orders')
})

async function orders(): Promise<string[]> {
  return (await database.query<{ id: string }>('select id from orders order by id')).map(({ id }) => id)
}

/** The same with the outbox: `fault` strikes where it did before. */
async function placeWithOutbox(id: string, fault: { readonly beforeCommit?: Error; readonly afterCommit?: Error }): Promise<void> {
  await database.transaction(async (tx) => {
    await store.append(tx, [message(id, 1)])
    await tx.query('insert into orders values ($1)', [id])
    if (fault.beforeCommit !== undefined) throw fault.beforeCommit
  })
  if (fault.afterCommit !== undefined) throw fault.afterCommit
}

/** Publishes all that is committed, then says what is on the wire. */
async function relayed(): Promise<string[]> {
  const wire = new WireRecorder(database, { fences: true })
  await using _relay = runRelay({ store, broker: wire, idleMs: 5, maintain: false })
  await until('the outbox is drained', async () => (await wire.count()) >= (await orders()).length)
  return (await wire.sent()).map(({ key }) => key)
}

test('a publish that fails after the commit loses the event; through the outbox it comes later', async () => {
  const broker = new DirectBroker()
  broker.down = true
  await database.query('insert into orders values ($1)', ['direct'])
  expect(() => broker.publish('direct')).toThrow('down')
  expect([await orders(), broker.published]).toEqual([['direct'], []])

  await database.query('truncate orders')
  await placeWithOutbox('outbox', {})
  expect([await orders(), await relayed()]).toEqual([['outbox'], ['outbox']])
})

test('a crash between commit and publish loses the event; the outbox has it already', async () => {
  const broker = new DirectBroker()
  const place = async (id: string): Promise<void> => {
    await database.query('insert into orders values ($1)', [id])
    crash()
    broker.publish(id)
  }
  await expect(place('direct')).rejects.toThrow(Crash)
  expect([await orders(), broker.published]).toEqual([['direct'], []])

  await database.query('truncate orders')
  await expect(placeWithOutbox('outbox', { afterCommit: new Crash() })).rejects.toThrow(Crash)
  expect([await orders(), await relayed()]).toEqual([['outbox'], ['outbox']])
})

test('a publish before a save that fails invents an event; the outbox takes it back with the save', async () => {
  const broker = new DirectBroker()
  await database.query('insert into orders values ($1)', ['taken'])
  const place = async (id: string): Promise<void> => {
    broker.publish(id)
    await database.query('insert into orders values ($1)', [id])
  }
  await expect(place('taken')).rejects.toThrow('duplicate key')
  expect([await orders(), broker.published]).toEqual([['taken'], ['taken']])

  await expect(placeWithOutbox('taken', {})).rejects.toThrow('duplicate key')
  await expect(placeWithOutbox('other', { beforeCommit: new Crash() })).rejects.toThrow(Crash)
  await database.query('truncate orders')
  await placeWithOutbox('last', {})
  expect(await relayed()).toEqual(['last'])
})

function crash(): void {
  throw new Crash()
}
