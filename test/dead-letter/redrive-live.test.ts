import { afterAll, expect, test } from 'vitest'
import { TerminalError, event, service, settled } from 'tidemark'
import { PostgresDatabase, postgres, postgresBroker } from 'tidemark/postgres'
import { z } from 'zod'
import { testDatabase } from '../support/postgres.ts'
import { until } from '../support/until.ts'

const { connectionString } = await testDatabase('redrive_live')
const connection = { connectionString: connectionString() }
const log = postgresBroker(connection)
const database = new PostgresDatabase(connection)
afterAll(async () => {
  await log.close()
  await database.close()
})
await database.query('create table effect (key text, n int)')
const Changed = event('Changed', { aggregate: 'thing', key: ({ key }) => key, schema: z.object({ key: z.string(), n: z.number() }) })
const letters = 600

test('live messages of other keys in the same lanes run once each while many letters are redriven, and none of their batches is rolled back', async () => {
  let isBroken = true
  const runs = new Map<string, number>()
  const bank = service('bank', {
    database: postgres(connection),
    broker: log,
    partitions: 1,
    consumer: { breaker: false, deadLetter: 'skip' },
  })
  bank.consume(Changed, async ({ data: { key, n } }, { tx }) => {
    if (isBroken) throw new TerminalError('not today')
    runs.set(`${key} ${n}`, (runs.get(`${key} ${n}`) ?? 0) + 1)
    await tx.query('insert into effect (key, n) values ($1, $2)', [key, n])
  })
  const publish = (keys: readonly string[], n: number): Promise<void> =>
    bank.transaction((tx) =>
      bank.publishAll(
        tx,
        keys.map((key) => ({ event: Changed, data: { key, n } })),
      ),
    )
  await bank.start()
  await publish(
    Array.from({ length: letters }, (_, n) => `dead ${n}`),
    0,
  )
  await until('all are dead', async () => (await bank.deadLetters.getDeadLetterStats()).totalCount === letters)
  isBroken = false
  const live = Array.from({ length: 20 }, (_, n) => `live ${n}`)
  await publish(live, 0)
  await until('live messages are handled', () => runs.size >= live.length)
  const before = (await bank.status()).groups[0]!.consumer!.counts.uncharged

  let isRedriven = false
  const redrive = bank.deadLetters.replayAll().finally(() => (isRedriven = true))
  let n = 1
  for (; !isRedriven || n < 20; n++) {
    await publish(live, n)
    const last = n
    await until('they are handled beside it', () => live.every((key) => runs.has(`${key} ${last}`)))
  }
  expect(await redrive).toBe(letters)
  await settled([bank])
  const effects = letters + live.length * n
  await until('every letter has its effect, too', async () => {
    const [row] = await database.query<{ count: string }>('select count(*) from effect')
    return Number(row!.count) === effects
  })
  expect([...runs].filter(([, times]) => times !== 1)).toEqual([])
  expect((await bank.status()).groups[0]!.consumer!.counts.uncharged).toBe(before)
  await bank.stop()
})
