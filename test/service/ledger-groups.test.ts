import { event, service } from 'tidemark'
import { ledger, once, settleCall } from 'tidemark/inbox'
import { memory, memoryBroker } from 'tidemark/memory'
import { postgres } from 'tidemark/postgres'
import { describe, expect, onTestFinished, test } from 'vitest'
import { z } from 'zod'
import { testDatabase } from '../support/postgres.ts'

const { connectionString } = await testDatabase('ledgergroups')
const paid = (aggregate: string) => event('Paid', { aggregate, key: ({ id }) => id, schema: z.object({ id: z.string() }) })
const databases = { memory: () => memory(), postgres: () => postgres({ connectionString: connectionString() }) }

describe.each(Object.entries(databases))('outside calls of a service with two groups on %s', (name, database) => {
  const broker = memoryBroker()
  const shop = () => {
    const made = service(`shop-${name}`, { database: database(), broker, partitions: 1, consumer: { owner: 'us' } })
    onTestFinished(() => made.stop())
    return made
  }

  test('each group makes its own for the same step of the same message, with a key of its own, and gets its own response', async () => {
    const Paid = paid('each')
    const service = shop()
    const calls: { readonly group: string; readonly key: string }[] = []
    const got: Record<string, string> = {}
    for (const group of ['charge', 'mail', service.name]) {
      service.consume(Paid, { group }, async (message) => {
        got[group] = await once(service.ledger, message, 'send', ({ key }) => {
          calls.push({ group, key })
          return Promise.resolve(`done by ${group}`)
        })
      })
    }
    await service.start()
    await service.transaction((tx) => service.publish(tx, Paid, { id: 'p-1' }))
    await service.settled()
    expect(got).toEqual({ charge: 'done by charge', mail: 'done by mail', [service.name]: `done by ${service.name}` })
    expect(new Set(calls.map(({ key }) => key)).size).toBe(3)
    const scopes = (await service.ledger.store.counts()).map(({ scope }) => scope)
    expect(scopes.sort()).toEqual(['charge', 'mail', service.name])
  })

  test('a call outside a handler is of the group of the service, and one of another group is settled by a ledger of that group', async () => {
    const Paid = paid('settled')
    const service = shop()
    const message = { source: 'legacy', id: 'm-1' }
    await once(service.ledger, message, 'send', () => Promise.resolve('by the service'))
    await settleCall(ledger({ store: service.ledger.store, scope: 'mail' }), message, 'send', { outcome: 'done', response: 'by hand' })

    const got: Record<string, unknown> = {}
    for (const group of ['mail', service.name]) {
      service.consume(Paid, { group }, async () => {
        got[group] = await once(service.ledger, message, 'send', () => Promise.resolve('again'))
      })
    }
    await service.start()
    await service.transaction((tx) => service.publish(tx, Paid, { id: 'p-1' }))
    await service.settled()
    expect(got).toEqual({ mail: 'by hand', [service.name]: 'by the service' })
  })

  test('a handler of another service, with a group that this one does not have, calls in the name of the group of this one', async () => {
    const Paid = paid('other')
    const service = shop()
    const other = shop()
    const message = { source: 'legacy', id: 'm-2' }
    other.consume(Paid, { group: 'elsewhere' }, async () => {
      await once(service.ledger, message, 'send', () => Promise.resolve('by the other'))
    })
    await other.start()
    await other.transaction((tx) => other.publish(tx, Paid, { id: 'p-1' }))
    await other.settled()
    expect(await once(service.ledger, message, 'send', () => Promise.resolve('again'))).toBe('by the other')
  })
})
