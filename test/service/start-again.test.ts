import { TidemarkError, event, service } from 'tidemark'
import { memory, memoryBroker } from 'tidemark/memory'
import { expect, onTestFinished, test } from 'vitest'
import { z } from 'zod'
import type { DatabaseDriver } from '../../src/drivers/port.ts'

const Placed = event('Placed', { aggregate: 'order', key: ({ id }) => id, schema: z.object({ id: z.string() }) })

test('a start that was rejected because the database was away may be called again, and the broker stays open at the end', async () => {
  const inner = memory()
  let isAway = true
  const database: DatabaseDriver = {
    open: (name, settings) => {
      if (!isAway) return inner.open(name, settings)
      return Promise.reject(new TidemarkError('DATABASE_UNREACHABLE', 'the database system is starting up'))
    },
  }
  const broker = memoryBroker()
  const seen: string[] = []
  const shop = service('shop', { database, broker }).consume(Placed, ({ data }) => void seen.push(data.id))
  onTestFinished(() => shop.stop())
  for (let i = 0; i < 2; i++) await expect(shop.start()).rejects.toMatchObject({ code: 'DATABASE_UNREACHABLE', retryable: true })
  isAway = false
  await shop.start()
  await shop.transaction((tx) => shop.publish(tx, Placed, { id: 'o-1' }))
  await shop.settled()
  expect(seen).toEqual(['o-1'])
  await shop.stop()
  expect(await broker.offsets(Placed.topic, 'earliest')).not.toEqual([])
})
