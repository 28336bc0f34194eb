import { describe, expect, test } from 'vitest'
import type { PostgresDatabase } from '../../src/drivers/postgres/database.ts'
import { type Harm, harass, seeded } from './support/adversary.ts'
import { outboxDatabase, smallPartitions } from './support/outbox-database.ts'
import { type RelayProcessSettings, startRelay } from './support/start-relay.ts'
import { until } from '../support/until.ts'
import type { ChildProgram } from '../support/child-program.ts'
import { type Sent, WireRecorder, changedRepeats, outOfOrder, withoutRepeats } from './support/wire-recorder.ts'

/** Of the writers, in each of the mixes below. */
const seconds = Number(process.env.TIDEMARK_RACE_SECONDS ?? 8)
const seed = Number(process.env.TIDEMARK_RACE_SEED ?? Date.now() % 100_000)
const keys = 20

const { url, database, reset } = await outboxDatabase('race')
await WireRecorder.create(database)
await database.query('create table version (key text primary key, v int not null)')

/** Kills, freezes, continues and replaces relays until told to end; then lets those live that are left. */
async function torment(
  settings: RelayProcessSettings,
  random: () => number,
  running: () => boolean,
): Promise<{ killed: number; frozen: number }> {
  const streams = settings.streams ?? 1
  const alive: ChildProgram[] = []
  const start = (): void => void alive.push(startRelay({ ...settings, stream: Math.floor(random() * streams) }))
  const done = { killed: 0, frozen: 0 }
  for (let stream = 0; stream < streams; stream++) alive.push(startRelay({ ...settings, stream }))
  await Promise.all(alive.map((relay) => relay.untilSaid(/^taken-over$/m)))
  start()
  const thaws: Promise<void>[] = []
  while (running()) {
    await pause(150 + random() * 350)
    const [victim] = alive.splice(Math.floor(random() * alive.length), 1)
    if (victim === undefined || random() < 0.4) {
      victim?.signal('SIGKILL')
      done.killed += 1
      start()
    } else {
      victim.signal('SIGSTOP')
      done.frozen += 1
      thaws.push(
        pause(500 + random() * 1_500)
          .then(() => void victim.signal('SIGCONT'))
          .then(() => void alive.push(victim)),
      )
    }
  }
  await Promise.all(thaws)
  for (const relay of alive) relay.signal('SIGTERM')
  await Promise.all(alive.map(({ ended }) => ended))
  return done
}

async function race(settings: Omit<RelayProcessSettings, 'url'>): Promise<{ harm: Harm; sent: Sent[] }> {
  await reset()
  await smallPartitions(database, settings.retention?.partitionRows ?? 1_000_000, settings.retention?.ahead)
  await database.query('truncate wire, wire_owner, version')
  await database.query(`insert into version select 'key-' || lpad(n::text, 3, '0'), 0 from generate_series(0, ${keys - 1}) n`)
  const prepared =
    Number((await database.query<{ max_prepared_transactions: string }>('show max_prepared_transactions'))[0]!.max_prepared_transactions) >
    16
  const end = performance.now() + seconds * 1_000
  const running = (): boolean => performance.now() < end
  const [harm, done] = await Promise.all([
    harass({ url, writers: 16, keys, seed, prepared }, running),
    torment({ ...settings, url }, seeded(seed), running),
  ])
  const last = Array.from({ length: settings.streams ?? 1 }, (_, stream) => startRelay({ ...settings, url, stream }))
  await until('the outbox is published', () => isDrained(database, settings.streams ?? 1))
  for (const relay of last) relay.signal('SIGTERM')
  await Promise.all(last.map(({ ended }) => ended))
  const sent = await new WireRecorder(database, { fences: false }).sent()
  console.log(`seed ${seed}:`, JSON.stringify({ ...harm, ...done, sent: sent.length, repeated: sent.length - withoutRepeats(sent).length }))
  return { harm, sent }
}

/** Every stream's row is finished and sees every row of the table. */
async function isDrained(database: PostgresDatabase, streams: number): Promise<boolean> {
  const [row] = await database.query<{ drained: boolean }>(
    `select count(*) = ${streams} and bool_and(finished and not exists (select from tidemark.outbox o
       where tidemark.outbox_shard(o.aggregatetype, o.aggregateid, r.streams) = r.stream and not pg_visible_in_snapshot(o.xid, r.cur))) as drained
     from tidemark.relay r`,
  )
  return row!.drained === true
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

describe.each([
  { name: 'no fence', settings: { fences: false } },
  {
    name: 'fence, rotating partitions',
    settings: { fences: true, retention: { partitionRows: 400, ahead: 25, keepMs: 0, everyMs: 100 } },
  },
  { name: 'three streams, no fence', settings: { fences: false, streams: 3 } },
])('16 writers, relays killed, frozen and replaced: $name', ({ settings }) => {
  test(
    'nothing is lost, nothing is out of order within its key, and what is sent again is what was sent',
    { timeout: 60_000 + seconds * 5_000 },
    async () => {
      const { harm, sent } = await race(settings)
      if (settings.retention !== undefined) {
        const full = await database.query(`select from tidemark.outbox_part where state <> 'open'`)
        expect(full.length).toBeGreaterThan(0)
      }
      const seen = withoutRepeats(sent)
      expect(outOfOrder(seen)).toEqual([])
      expect(seen).toHaveLength(harm.committed)
      expect(changedRepeats(sent)).toEqual([])
      const versions = await database.query<{ key: string; v: number }>('select key, v from version')
      expect(versions.reduce((sum, { v }) => sum + v, 0)).toBe(harm.committed)
    },
  )
})
