import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { kafka } from '../../src/drivers/kafka/index.ts'
import type { Broker } from '../../src/message/index.ts'
import { kafkaAvailable, testKafka, uniqueName } from '../support/kafka.ts'
import { PostgresBroker } from '../../src/drivers/postgres/postgres-broker.ts'
import { PostgresDeadLetterStore } from '../../src/drivers/postgres/postgres-dead-letter-store.ts'
import { consumerDatabase, countedRecord } from '../consumer/support/consumer-database.ts'
import { seeded } from '../outbox/support/adversary.ts'
import type { ChildProgram } from '../support/child-program.ts'
import { until } from '../support/until.ts'
import { type StormSettings, startStormConsumer } from './support/start-storm-consumer.ts'

/**
 * P1 to P5 under everything at once, checked by SQL alone: keys that fail in all ways, outages, processes killed and frozen, dead letters redriven while
 * new messages of their keys arrive. In the end each message of each key took effect once, in the order of the key.
 */
const seconds = Number(process.env.TIDEMARK_RACE_SECONDS ?? 8)
/** More platforms. */
const isLong = process.env.TIDEMARK_RACE_SECONDS !== undefined
const seed = Number(process.env.TIDEMARK_RACE_SEED ?? Date.now() % 100_000)

const partitions = 3
const keys = Array.from({ length: 24 }, (_, k) => `k${k}`)
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

const variants = [
  { name: 'Postgres', onKafka: false, retryTopics: false },
  { name: 'Postgres, with retry topics', onKafka: false, retryTopics: true },
  { name: 'Kafka', onKafka: true, retryTopics: false },
  { name: 'Kafka, with retry topics', onKafka: true, retryTopics: true },
]

describe.each(variants.filter(({ onKafka }) => !onKafka || (isLong && !kafkaAvailable.missing)))(
  'on $name',
  async ({ onKafka, retryTopics }) => {
    const { url, database, rows } = await consumerDatabase('storm')
    await rows('create table trouble (key text primary key, kind text not null)')
    const letters = new PostgresDeadLetterStore({ database })
    const topic = uniqueName('storm')
    const sent = new Map(keys.map((key) => [key, 0]))
    let settings: StormSettings
    let broker: Broker
    beforeAll(async () => {
      const brokers = onKafka ? { kafka: (await testKafka()).brokers } : {}
      settings = { url, topic, group: uniqueName('group'), retryTopics, ...brokers }
      broker =
        brokers.kafka === undefined ? new PostgresBroker({ connectionString: url, maxConnections: 4 }) : kafka({ brokers: brokers.kafka })
    })
    afterAll(() => broker?.close())

    async function write(random: () => number, running: () => boolean): Promise<void> {
      await broker.topics([{ name: topic, partitions }])
      const appender = await broker.appender({ sourceEpoch: `${topic}.1`, generation: 1, stream: 0, epoch: 1, topics: [topic] })
      for (let tick = 1; running(); tick++) {
        const records = Array.from({ length: 1 + Math.floor(random() * 60) }, () => {
          const key = keys[Math.floor(random() * keys.length)]!
          const n = sent.get(key)!
          sent.set(key, n + 1)
          return { ...countedRecord(key, n, { partitions, id: `${key} ${n}` }), topic }
        })
        await appender.append(records)
        await pause(random() * 40)
      }
      await appender.close()
    }

    async function trouble(random: () => number, running: () => boolean): Promise<void> {
      const kinds = ['bug', 'bug', 'never', 'later', 'away', 'stuck']
      // Some keys die as long as it lasts, so that there is something to redrive however slow the machine is.
      const dying = keys.slice(0, 4)
      for (const key of dying) await rows(`insert into trouble values ($1, 'never')`, [key])
      while (running()) {
        const isOutage = random() < 0.15
        const key = isOutage ? '*' : keys[dying.length + Math.floor(random() * (keys.length - dying.length))]!
        const kind = isOutage ? 'away' : kinds[Math.floor(random() * kinds.length)]!
        await rows('insert into trouble values ($1, $2) on conflict (key) do update set kind = excluded.kind', [key, kind])
        await pause(isOutage ? 700 : random() * 300)
        if (isOutage || random() < 0.6) await rows('delete from trouble where key = $1', [key])
      }
      await rows('delete from trouble')
    }

    /** Kills, freezes and replaces processes; then lets those live that are left. */
    async function torment(
      random: () => number,
      running: () => boolean,
    ): Promise<{ alive: ChildProgram[]; killed: number; frozen: number }> {
      const alive = [1, 2, 3].map(() => startStormConsumer(settings))
      const thaws: Promise<unknown>[] = []
      let [killed, frozen] = [0, 0]
      while (running()) {
        // Kafka takes six seconds to give a dead member's partitions to another one.
        await pause((300 + random() * 900) * (onKafka ? 4 : 1))
        const [victim] = alive.splice(Math.floor(random() * alive.length), 1)
        if (random() < 0.5) {
          victim!.signal('SIGKILL')
          killed += 1
          alive.push(startStormConsumer(settings))
        } else {
          victim!.signal('SIGSTOP')
          frozen += 1
          thaws.push(pause(300 + random() * 2_500).then(() => (victim!.signal('SIGCONT'), alive.push(victim!))))
          if (alive.length === 0) alive.push(startStormConsumer(settings))
        }
      }
      await Promise.all(thaws)
      return { alive, killed, frozen }
    }

    /** Redrives whatever is dead, each key's letters at once. Returns how many went. */
    async function redriveAll(): Promise<number> {
      const byKey = new Map<string, { readonly id: number }[]>()
      for await (const page of letters.select({})) for (const { id, order } of page) byKey.set(order, [...(byKey.get(order) ?? []), { id }])
      let redriven = 0
      for (const some of byKey.values()) {
        const outcomes = await letters.redrive(some, { actor: 'storm' })
        redriven += outcomes.filter(({ outcome }) => outcome === 'redriven').length
      }
      return redriven
    }

    test(
      `whatever fails, every message takes effect once${retryTopics ? '' : ', in the order of its key,'} for ${seconds} s (TIDEMARK_RACE_SEED=${seed})`,
      async () => {
        const random = seeded(seed)
        const end = performance.now() + seconds * 1_000
        const running = (): boolean => performance.now() < end
        let redriven = 0
        // On a machine so busy that no process had the time to handle anything between the kills, the troubles last until it has.
        const troubled = (): boolean => running() || (redriven === 0 && performance.now() < end + 60_000)
        const operate = async (): Promise<void> => {
          while (troubled()) {
            await pause(500)
            redriven += await redriveAll()
          }
        }
        const [{ alive, killed, frozen }] = await Promise.all([
          torment(random, running),
          write(random, running),
          trouble(random, troubled),
          operate(),
        ])
        const total = [...sent.values()].reduce((sum, count) => sum + count, 0)
        await until(
          'all took effect',
          async () => {
            redriven += await redriveAll()
            const [row] = await rows<{ n: number }>('select count(*)::int as n from effect')
            return row!.n >= total
          },
          120_000,
        )
        const [state] = await rows(
          'select (select count(*)::int from tidemark.parked_msg) as messages, (select count(*)::int from tidemark.parked_key) as keys',
        )
        expect(state).toEqual({ messages: 0, keys: 0 })
        // Retry topics give the order up.
        if (!retryTopics) {
          const wrong = await rows(
            `select key, n, place from (select key, n, place, row_number() over (partition by key order by place) - 1 as expected from effect) e where n <> expected`,
          )
          expect(wrong.slice(0, 5)).toEqual([])
        }
        const counts = await rows<{ key: string; n: number; different: number }>(
          'select key, count(*)::int as n, count(distinct n)::int as different from effect group by key',
        )
        expect(Object.fromEntries(counts.map(({ key, n }) => [key, n]))).toEqual(Object.fromEntries([...sent].filter(([, n]) => n > 0)))
        expect(counts.filter(({ n, different }) => n !== different)).toEqual([])
        expect(await rows(`select from tidemark.dead_letter where state <> 'redriven' or ended_at is null`)).toEqual([])
        // All of it must have happened, or this has tested little.
        expect(killed + frozen).toBeGreaterThan(3)
        expect(redriven).toBeGreaterThan(0)
        for (const consumer of alive) consumer.tell('stop')
        for (const consumer of alive) expect((await consumer.ended).code, consumer.stderr).toBe(0)
        console.log(`${total} messages, ${killed} kills, ${frozen} freezes, ${redriven} redrives`)
      },
      (seconds + 180) * 1_000,
    )
  },
)
