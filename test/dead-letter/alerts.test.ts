import { afterEach, describe, expect, test } from 'vitest'
import { event, service, settled } from 'tidemark'
import { type AlertStore, type LetterWatch, type Notice, logNotifier, watchLetters } from 'tidemark/dead-letter'
import { MemoryAlertStore, MemoryDatabase } from 'tidemark/memory'
import { PostgresAlertStore, postgres, postgresBroker } from 'tidemark/postgres'
import { z } from 'zod'
import { deferred } from '../../src/internal/deferred.ts'
import { until } from '../support/until.ts'
import { letterDatabase } from './support/buried.ts'

const { url, database, store, rows, partition } = await letterDatabase('alerts')
const alerts = new PostgresAlertStore({ database })

const watches: LetterWatch[] = []
afterEach(async () => {
  await Promise.all(watches.splice(0).map((watch) => watch.stop()))
  await database.query('truncate tidemark.dead_letter_alert, tidemark.consumer_contact')
  await database.query(`update tidemark.dead_letter set state = 'discarded'`)
})

function watch(heard: Notice[], options: Partial<Parameters<typeof watchLetters>[0]> = {}): LetterWatch {
  const watching = watchLetters({ letters: store, store: alerts, notify: (notice) => void heard.push(notice), everyMs: 10, ...options })
  watches.push(watching)
  return watching
}

/** So many more looks were taken, by whoever takes them. */
async function looks(count: number): Promise<void> {
  let last = 0
  let seen = 0
  await until(`${count} more looks`, async () => {
    const [row] = await rows<{ held_until: Date }>('select held_until from tidemark.dead_letter_watch')
    const at = row!.held_until.getTime()
    if (at !== last) seen += 1
    last = at
    return seen > count
  })
}

test('many processes say the first letter of a group once, and once that none is left; restarts say nothing again', async () => {
  const owned = await partition()
  const { group } = owned.ref
  await alerts.noteContacts([{ group, owner: 'payments team', runbook: 'https://wiki.example/billing' }])
  const heard: Notice[] = []
  const crowd = [1, 2, 3, 4].map(() => watch(heard))
  await owned.bury('k')
  await until('it is said', () => heard.length > 0)
  await looks(5)
  await Promise.all(crowd.map((one) => one.stop()))
  watch(heard)
  await looks(5)
  expect(heard).toHaveLength(1)
  expect(heard[0]).toMatchObject({
    severity: 'warning',
    group,
    owner: 'payments team',
    runbook: 'https://wiki.example/billing',
    eventId: 'id-0',
  })
  expect(JSON.stringify(heard)).not.toMatch(/cannot be handled|"n":/)
  const { letters } = await store.list({ groups: [group] })
  await store.change(letters[0]!.id, { kind: 'discard' }, { actor: 'ada' })
  await until('it is said', () => heard.length > 1)
  await looks(5)
  expect(heard.slice(1)).toMatchObject([{ severity: 'info', group, eventId: null }])
})

test('a notice that could not be sent is sent at a later look, and those of other groups meanwhile', async () => {
  const [first, second] = [await partition(), await partition()]
  await Promise.all([first.bury('k'), second.bury('k')])
  const heard: Notice[] = []
  let failures = 0
  watch(heard, {
    notify: (notice) => {
      if (notice.group === first.ref.group && failures++ < 3) throw new Error('the pager is away')
      heard.push(notice)
    },
  })
  await until('both are said', () => heard.length === 2)
  await looks(3)
  expect(heard.map(({ group }) => group).sort()).toEqual([first.ref.group, second.ref.group].sort())
})

test('the first letter of another kind is told with what it is, though others of the group were told', async () => {
  const owned = await partition()
  const heard: Notice[] = []
  watch(heard)
  await owned.bury('k')
  await until('it is said', () => heard.length > 0)
  await owned.bury('l')
  await looks(3)
  expect(heard).toHaveLength(1)
  await owned.bury('m')
  await database.query(
    `update tidemark.dead_letter set fingerprint = 'another', error_class = 'RangeError', frame = 'bill (src/bill.ts)' where message_id = 'id-2' and group_name = $1`,
    [owned.ref.group],
  )
  await until('the other kind is said', () => heard.some(({ title }) => title.startsWith('Another kind')))
  await looks(3)
  const other = heard.filter(({ title }) => title.startsWith('Another kind'))
  expect(other).toMatchObject([{ severity: 'warning', group: owned.ref.group, eventId: 'id-2' }])
  expect(other[0]!.details).toContain('RangeError at bill (src/bill.ts) (1, such as letter')
})

test('where the second notice of a look cannot be sent, the first is not said again', async () => {
  const owned = await partition()
  const heard: Notice[] = []
  await owned.bury('k')
  let failures = 0
  watch([], {
    // One letter is a growing trouble here, so the first look has two notices.
    settings: { growth: 1 },
    notify: (notice) => {
      if (notice.severity === 'critical' && failures++ < 3) throw new Error('the pager is away')
      heard.push(notice)
    },
  })
  await until('both are said', () => heard.length === 2)
  await looks(3)
  expect(heard.map(({ severity }) => severity)).toEqual(['warning', 'critical'])
  expect(failures).toBe(4)
})

test('a notifier that takes longer than the watch lasts keeps it: nobody else says the same meanwhile', async () => {
  const owned = await partition()
  await owned.bury('k')
  const heard: string[] = []
  const gate = deferred<void>()
  const slow = (name: string) => async (): Promise<void> => {
    heard.push(name)
    await gate.promise
  }
  watch([], { notify: slow('first') })
  await until('it begins', () => heard.length > 0)
  watch([], { notify: slow('second') })
  // Many times as long as the watch lasts without being renewed.
  await looks(12)
  expect(heard).toEqual(['first'])
  gate.resolve()
  await until('it is noted', async () => (await alerts.alerts()).has(owned.ref.group))
})

test('a notifier that never ends counts as one that failed', async () => {
  const owned = await partition()
  await owned.bury('k')
  const heard: Notice[] = []
  let calls = 0
  watch(heard, {
    notifyTimeoutMs: 50,
    notify: (notice) => {
      if (calls++ === 0) return new Promise<void>(() => undefined)
      heard.push(notice)
    },
  })
  await until('it is said', () => heard.length > 0)
  expect(calls).toBe(2)
})

test('a group without an owner is told with that as a finding', async () => {
  const owned = await partition()
  await owned.bury('k')
  const heard: Notice[] = []
  watch(heard)
  await until('it is said', () => heard.length > 0)
  expect(heard[0]).toMatchObject({ owner: null, details: expect.stringContaining('no owner') as string })
})

test('a service tells of its dead letters, with the owner and the runbook of the consumer', async () => {
  const Counted = event('Counted', { aggregate: 'counter', key: ({ key }) => key, schema: z.object({ key: z.string() }) })
  const heard: Notice[] = []
  const log = postgresBroker({ connectionString: url })
  const shop = service('shop', {
    database: postgres({ connectionString: url }),
    broker: log,
    consumer: { retry: { maxAttempts: 1 }, owner: 'everybody', runbook: 'https://wiki.example/shop' },
    notify: (notice) => void heard.push(notice),
    alerts: { everyMs: 10 },
  })
  shop.consume(Counted, { owner: 'counting team' }, () => {
    throw new TypeError('secret 4711')
  })
  await shop.start()
  await shop.transaction((tx) => shop.publish(tx, Counted, { key: 'k' }))
  await settled([shop])
  await until('it is said', () => heard.length > 0)
  await shop.stop()
  await log.close()
  expect(heard).toMatchObject([{ group: 'shop', owner: 'counting team', runbook: 'https://wiki.example/shop', severity: 'warning' }])
  expect(heard[0]!.details).toContain('TypeError')
  expect(JSON.stringify(heard)).not.toContain('4711')
  expect(await alerts.contacts()).toContainEqual({ group: 'shop', owner: 'counting team', runbook: 'https://wiki.example/shop' })
})

test('a log gets one line for each notice, by its severity', () => {
  const lines: string[] = []
  const say = (level: string) => (text: string) => void lines.push(`${level}: ${text}`)
  const notify = logNotifier({ info: say('info'), warn: say('warn'), error: say('error') })
  const notice = { title: 'T', details: 'D.', eventId: 'e', group: 'g', owner: 'o', runbook: null }
  for (const severity of ['info', 'warning', 'critical'] as const) void notify({ ...notice, severity })
  expect(lines).toEqual(['info: T. D. (event e, owner o)', 'warn: T. D. (event e, owner o)', 'error: T. D. (event e, owner o)'])
})

describe.each<[string, () => AlertStore]>([
  ['Postgres', () => alerts],
  ['memory', () => new MemoryAlertStore(new MemoryDatabase())],
])('the watch on %s', (_name, make) => {
  test('is one holder, until it is given back or has run out; only the holder notes what was said', async () => {
    const one = make()
    expect(await one.watch('a', 60_000)).toBe(true)
    expect(await one.watch('b', 60_000)).toBe(false)
    expect(await one.watch('a', 60_000)).toBe(true)
    const state = { grown: 12, ages: 1, told: 12, kinds: ['a'] }
    expect(await one.saveAlert('b', 'g', state)).toBe(false)
    expect(await one.saveAlert('a', 'g', state)).toBe(true)
    expect(await one.saveAlert('a', 'g', { ...state, ages: 2 })).toBe(true)
    expect([...(await one.alerts())]).toEqual([['g', { ...state, ages: 2 }]])
    expect(await one.saveAlert('b', 'g', null)).toBe(false)
    expect(await one.saveAlert('a', 'g', null)).toBe(true)
    expect((await one.alerts()).size).toBe(0)
    await one.endWatch('b')
    expect(await one.watch('b', 60_000)).toBe(false)
    await one.endWatch('a')
    expect(await one.watch('b', 1)).toBe(true)
    await until('the watch has run out', () => one.watch('a', 60_000))
    await one.endWatch('a')
    await one.noteContacts([{ group: 'g', owner: 'a', runbook: null }])
    await one.noteContacts([{ group: 'g', owner: 'b', runbook: 'r' }])
    expect(await one.contacts()).toEqual([{ group: 'g', owner: 'b', runbook: 'r' }])
  })
})
