import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type HandlerContext, onBatch, onMessage } from '../../src/consumer/index.ts'
import { PostgresDatabase } from '../../src/drivers/postgres/database.ts'
import { PostgresConsumerStore } from '../../src/drivers/postgres/postgres-consumer-store.ts'
import type { Message } from '../../src/message/index.ts'
import { TerminalError } from '../../src/retry/index.ts'
import { until } from '../support/until.ts'
import {
  Counted,
  byKey,
  consumerDatabase,
  countEffect,
  countedRecord,
  insertEffect,
  memoryTopic,
  sequence,
  settledAll,
} from './support/consumer-database.ts'

const { url, database, consume, effects, rows } = await consumerDatabase('failures')
await rows('create table deferred (n int unique deferrable initially deferred)')

beforeEach(async () => {
  await rows(
    'truncate effect, deferred, tidemark.consumer_position, tidemark.inbox, tidemark.parked_key, tidemark.parked_msg, tidemark.dead_letter cascade',
  )
})

type Counting = Message<{ readonly key: string; readonly n: number }>

/** Counts, after doing something that may go wrong. */
const counting = (before: (message: Counting, context: HandlerContext) => unknown) =>
  onMessage(Counted, async (message, context) => {
    await before(message, context)
    await context.tx.query(insertEffect, [message.id, message.data.key, message.data.n])
  })

const poison = counting(({ data }) => {
  if (data.key === 'bad' && data.n === 2) throw new TypeError('this one never works')
})

/** Messages of three keys; those of `bad` in between. */
const mixed = (count: number) => sequence(count).flatMap((n) => ['a', 'bad', 'b'].map((key) => countedRecord(key, n)))
const letters = () => rows('select * from tidemark.dead_letter order by log_offset')
const parked = () =>
  rows(`select convert_from(key, 'utf8') as key, log_offset::int as o, dead from tidemark.parked_msg order by log_offset`)

describe.each([1, 4])('with %i lanes', (lanes) => {
  test('a poison message blocks its key: what follows of it queues in order, other keys flow', async () => {
    const { broker, send } = await memoryTopic(1)
    await send(mixed(6))
    await using consumer = consume(broker, [poison], { lanes })
    await settledAll(consumer, broker)
    await send(mixed(8).slice(18))
    await settledAll(consumer, broker)
    const keys = byKey(await effects())
    expect(keys.get('a')).toEqual(sequence(8))
    expect(keys.get('b')).toEqual(sequence(8))
    expect(keys.get('bad')).toEqual([0, 1])
    expect(await parked()).toEqual([2, 3, 4, 5, 6, 7].map((n) => ({ key: 'bad', o: n * 3 + 1, dead: n === 2 })))
    expect(await letters()).toHaveLength(1)
    expect(consumer.status().counts).toMatchObject({ deadLetters: 1, retries: 3, queued: 5 })
  })

  test('by the policy skip the key goes on without it', async () => {
    const { broker, send } = await memoryTopic(1)
    await send(mixed(6))
    await using consumer = consume(broker, [poison], { lanes, deadLetter: 'skip' })
    await settledAll(consumer, broker)
    expect(byKey(await effects()).get('bad')).toEqual([0, 1, 3, 4, 5])
    expect(await parked()).toEqual([])
    expect(await rows('select from tidemark.parked_key')).toEqual([])
    expect(await letters()).toMatchObject([{ policy: 'skip', state: 'dead' }])
  })
})

test('a dead letter has the record as it stood in the log, and everything known of its failure', async () => {
  const { broker, send } = await memoryTopic(1)
  const record = countedRecord('bad', 2, {
    headers: [
      ['ce_type', 'Counted'],
      ['ce_source', '/test'],
      ['ce_id', 'x'],
      ['raw', Buffer.from([0xff, 0])],
      ['none', null],
    ],
  })
  await send([countedRecord('a', 1), record])
  await using consumer = consume(broker, [poison], { codeVersion: 'v7' })
  await settledAll(consumer, broker)
  const [letter] = await letters()
  expect(letter).toMatchObject({
    group_name: 'test',
    topic: Counted.topic,
    partition: 0,
    log_offset: '1',
    key: Buffer.from('bad'),
    value: record.value,
    headers: [
      ['ce_type', 'Counted'],
      ['ce_source', '/test'],
      ['ce_id', 'x'],
      ['raw', { base64: '/wA=' }],
      ['none', null],
    ],
    message_id: 'x',
    type: 'Counted',
    handler: 'Counted',
    policy: 'block',
    state: 'dead',
    error_class: 'TypeError',
    reason: 'this one never works',
    code_version: 'v7',
  })
  expect(letter!['stack']).toContain('failures.test.ts')
  expect(letter!['attempts']).toHaveLength(3)
})

test('a blocked key stays blocked for the next owner', async () => {
  const { broker, send } = await memoryTopic(1)
  await send(mixed(4))
  const first = consume(broker, [poison])
  await settledAll(first, broker)
  await first.stop()
  await send(mixed(6).slice(12))
  await using second = consume(broker, [countEffect])
  await settledAll(second, broker)
  expect(byKey(await effects()).get('bad')).toEqual([0, 1])
  expect((await parked()).map(({ o }) => o)).toEqual([7, 10, 13, 16])
})

test.each([
  ['bytes that are no JSON', { value: Buffer.from([0xff, 0xfe]) }, 'MESSAGE_UNDECODABLE'],
  ['data against its schema', { value: Buffer.from('{"key":"bad","n":"two"}') }, 'EVENT_INVALID'],
])('%s: at once to the dead letters, with its bytes, and no handler runs', async (_, options, errorClass) => {
  const { broker, send } = await memoryTopic(1)
  await send([countedRecord('bad', 1), countedRecord('bad', 2, options), countedRecord('bad', 3), countedRecord('a', 1)])
  await using consumer = consume(broker, [countEffect])
  await settledAll(consumer, broker)
  expect(Object.fromEntries(byKey(await effects()))).toEqual({ bad: [1], a: [1] })
  expect(await letters()).toMatchObject([{ error_class: errorClass, value: options.value }])
  expect((await parked()).map(({ o, dead }) => [o, dead])).toEqual([
    [1, true],
    [2, false],
  ])
  expect(consumer.status().counts.retries).toBe(0)
})

/** Not even its type can be read. */
const unreadable = (key: string) => ({
  ...countedRecord(key, 1, { value: Buffer.from('{"broken'), headers: [['content-type', 'application/cloudevents+json']] }),
})

test.each(['block', 'skip'] as const)(
  'records of a waiting key that nobody can read wait behind it, and its lane goes on: %s',
  async (deadLetter) => {
    const { broker, send } = await memoryTopic(1)
    await send([countedRecord('bad', 2), unreadable('bad'), unreadable('bad'), countedRecord('a', 1)])
    let isMended = false
    const failing = counting(({ data }) => {
      if (data.key === 'bad' && !isMended) throw new Error('not yet')
    })
    const retry = { maxAttempts: 1_000, baseDelayMs: 5, maxDelayMs: 20 }
    await using consumer = consume(broker, [failing], { lanes: 1, deadLetter, retry })
    await until('the neighbour is done', async () => (await effects()).length === 1)
    await send([unreadable('bad'), countedRecord('a', 2)])
    await until('the next one, too', async () => (await effects()).length === 2)
    expect((await parked()).map(({ o, dead }) => [o, dead])).toEqual([0, 1, 2, 4].map((o) => [o, false]))
    isMended = true
    await settledAll(consumer, broker)
    expect(byKey(await effects()).get('bad')).toEqual([2])
    const dead = deadLetter === 'skip' ? [1, 2, 4] : [1]
    expect(await letters()).toMatchObject(
      dead.map((o) => ({ log_offset: String(o), policy: deadLetter, error_class: 'MESSAGE_UNDECODABLE' })),
    )
  },
)

test('an undecodable message without a key blocks nobody', async () => {
  const { broker, send } = await memoryTopic(1)
  await send([{ ...countedRecord('x', 1, { value: Buffer.from('{') }), key: null }, countedRecord('a', 1)])
  await using consumer = consume(broker, [countEffect])
  await settledAll(consumer, broker)
  expect((await effects()).length).toBe(1)
  expect(await letters()).toMatchObject([{ policy: 'skip', key: null }])
})

test('texts that Postgres does not take, and keys too long for an index, stop nothing', async () => {
  const { broker, send } = await memoryTopic(1)
  const longKey = 'k'.repeat(9_000)
  const odd = countedRecord('odd', 1, {
    headers: [
      ['ce_type', 'Counted'],
      ['ce_source', '/\0'],
      ['ce_id', 'i\0'.repeat(3_000)],
      ['\0', '\ud800'],
    ],
  })
  await send([odd, odd, countedRecord(longKey, 1, { value: Buffer.from('{') }), countedRecord(longKey, 2), countedRecord('a', 1)])
  const failing = counting(({ data }) => {
    if (data.key === 'a') throw new Error('with \0 and \ud800')
  })
  await using consumer = consume(broker, [failing])
  await settledAll(consumer, broker)
  expect((await effects()).length).toBe(1)
  expect(await letters()).toHaveLength(2)
  expect((await parked()).length).toBe(3)
})

describe('a handler', () => {
  const good = () => sequence(20).map((n) => countedRecord(`k${n}`, n))

  async function outcome(handler: ReturnType<typeof counting>): Promise<{ done: number[]; dead: string[] }> {
    const { broker, send } = await memoryTopic(1)
    await send(good())
    await using consumer = consume(broker, [handler], { lanes: 1 })
    await settledAll(consumer, broker)
    return { done: (await effects()).map(({ n }) => n), dead: (await letters()).map((letter) => String(letter['error_class'])) }
  }

  test('that swallows an error of the database has failed, and the others have not', async () => {
    const swallowing = counting(async ({ data }, { tx }) => {
      if (data.n === 7) await tx.query('select 1/0').catch(() => undefined)
    })
    expect(await outcome(swallowing)).toEqual({ done: sequence(20).filter((n) => n !== 7), dead: ['error 25P02'] })
  })

  test('that swallows it at its very end has failed as well', async () => {
    const swallowing = onMessage(Counted, async ({ id, data }, { tx }) => {
      await tx.query(insertEffect, [id, data.key, data.n])
      if (data.n === 7) await tx.query('select 1/0').catch(() => undefined)
    })
    expect(await outcome(swallowing)).toEqual({ done: sequence(20).filter((n) => n !== 7), dead: ['TRANSACTION_ABORTED'] })
  })

  test('that does not wait for a failing statement has failed as well', async () => {
    const careless = onMessage(Counted, ({ id, data }, { tx }) => {
      void tx.query(insertEffect, [id, data.key, data.n])
      if (data.n === 7) void tx.query('select 1/0')
    })
    expect(await outcome(careless)).toEqual({ done: sequence(20).filter((n) => n !== 7), dead: ['TRANSACTION_ABORTED'] })
  })

  test('that does not wait for a failing text of several commands has failed as well', async () => {
    const careless = onMessage(Counted, ({ id, data }, { tx }) => {
      void tx.query(insertEffect, [id, data.key, data.n])
      void tx.query(data.n === 7 ? 'select pg_sleep(0.05); select 1/0' : 'select 1; select 2').catch(() => undefined)
    })
    expect(await outcome(careless)).toEqual({ done: sequence(20).filter((n) => n !== 7), dead: ['TRANSACTION_ABORTED'] })
  })

  test('that guards a statement by a savepoint has not failed', async () => {
    const guarding = counting(async ({ data }, { tx }) => {
      await tx.query('savepoint s')
      await tx.query(data.n % 2 === 0 ? 'select 1' : 'select 1/0').catch(() => tx.query('rollback to savepoint s'))
    })
    expect(await outcome(guarding)).toEqual({ done: sequence(20), dead: [] })
  })

  test('that tries to end the transaction has failed, and nothing of it was committed', async () => {
    const ending = counting(async ({ data }, { tx }) => {
      await tx.query(insertEffect, ['x', 'x', -1])
      if (data.n === 7) await tx.query('/* now */ commit')
      else await tx.query(`delete from effect where id = 'x'`)
    })
    expect(await outcome(ending)).toEqual({ done: sequence(20).filter((n) => n !== 7), dead: ['INPUT_INVALID'] })
  })

  test('may use the client itself', async () => {
    const raw = counting(async (_, { tx }) => {
      const client = tx.raw as { query(text: string): Promise<unknown> }
      await client.query('select 1')
    })
    expect(await outcome(raw)).toEqual({ done: sequence(20), dead: [] })
  })

  test('that ends the transaction behind our back has failed', async () => {
    const ending = counting(async ({ data }, { tx }) => {
      if (data.n === 7) await (tx.raw as { query(text: string): Promise<unknown> }).query('rollback')
    })
    const { done, dead } = await outcome(ending)
    expect(done.filter((n) => n !== 7)).toEqual(sequence(20).filter((n) => n !== 7))
    expect(dead).toEqual(['TRANSACTION_CLOSED'])
  })

  test('may send several commands in one text', async () => {
    const script = onMessage(Counted, async ({ data }, { tx }) => {
      void tx.query(
        `insert into effect (id, key, n) values ('s', 's', ${data.n * 2}); insert into effect (id, key, n) values ('s', 's', ${data.n * 2 + 1})`,
      )
      await tx.query('select 1')
    })
    expect((await outcome(script)).done).toEqual(sequence(40))
  })

  test('that publishes what fails has failed, also if it swallows that', async () => {
    const { bufferPublish } = await import('../../src/consumer/index.ts')
    const publishing = counting(({ data }, { tx }) => {
      if (data.n === 7) bufferPublish(tx, Promise.reject(new RangeError('no such event')))
    })
    expect(await outcome(publishing)).toEqual({ done: sequence(20).filter((n) => n !== 7), dead: ['RangeError'] })
  })

  test('that uses its transaction after its end is told so, and changes nothing', async () => {
    const late: Promise<unknown>[] = []
    const leaking = counting((_, { tx }) => {
      setImmediate(() => setTimeout(() => late.push(tx.query(insertEffect, ['late', 'late', 0]).catch((error: unknown) => error)), 100))
    })
    expect((await outcome(leaking)).done).toEqual(sequence(20))
    await until('all have tried', () => late.length === 20)
    for (const error of await Promise.all(late)) expect(error).toMatchObject({ code: 'TRANSACTION_CLOSED' })
  })
})

test('a commit that the server refuses is traced to its message, which alone is charged', async () => {
  const { broker, send } = await memoryTopic(1)
  await rows('insert into deferred values (7)')
  await send(sequence(20).map((n) => countedRecord(`k${n}`, n)))
  const deferring = counting(({ data }, { tx }) => tx.query('insert into deferred values ($1)', [data.n]))
  await using consumer = consume(broker, [deferring], { lanes: 1 })
  await settledAll(consumer, broker)
  expect((await effects()).map(({ n }) => n)).toEqual(sequence(20).filter((n) => n !== 7))
  expect(await letters()).toMatchObject([{ log_offset: '7', error_class: 'error 23505' }])
})

test.each([
  ['by what they throw', false, 1],
  // It takes the transaction along, so that the others are found in the next run.
  ['by a statement', true, 2],
])(
  'messages that fail after their effect, %s, are undone by themselves in the next run, where the others run side by side',
  async (_how, byStatement, abandonedRuns) => {
    const { broker, send } = await memoryTopic(1)
    await send(sequence(60).map((n) => countedRecord(`k${n % 20}`, n)))
    const calls = new Map<number, number>()
    let running = 0
    let mostInTheSecond = 0
    const failing = onMessage(Counted, async ({ id, data }, { tx }) => {
      const call = (calls.get(data.n) ?? 0) + 1
      calls.set(data.n, call)
      running += 1
      if (call === 2) mostInTheSecond = Math.max(mostInTheSecond, running)
      const isFirst = data.n % (byStatement ? 60 : 21) === 7 && call === 1
      try {
        await tx.query(isFirst && byStatement ? 'insert into effect values ($1, $2, $3 / 0)' : insertEffect, [id, data.key, data.n])
      } finally {
        running -= 1
      }
      if (isFirst) throw new Error('once')
      if (data.n === 13) throw new TerminalError('always')
    })
    await using consumer = consume(broker, [failing], { lanes: 1, batch: { maxMessages: 60 } })
    await settledAll(consumer, broker)
    const done = byKey(await effects())
    for (const n of sequence(20)) expect(done.get(`k${n}`)).toEqual(n === 13 ? undefined : [n, n + 20, n + 40])
    expect(await letters()).toMatchObject([{ error_class: 'TerminalError', policy: 'block' }])
    expect(consumer.status().counts).toMatchObject({ abandonedRuns, deadLetters: 1, retries: 0 })
    expect(mostInTheSecond).toBeGreaterThan(5)
  },
)

test('a failing batch is cut down to the message at fault', async () => {
  const { broker, send } = await memoryTopic(1)
  await send(sequence(40).map((n) => countedRecord(`k${n}`, n)))
  const inBatches = onBatch(Counted, async (messages, { tx }) => {
    for (const { id, data } of messages) {
      if (data.n === 23) throw new Error('not this one')
      await tx.query(insertEffect, [id, data.key, data.n])
    }
  })
  await using consumer = consume(broker, [inBatches], { lanes: 1 })
  await settledAll(consumer, broker)
  expect((await effects()).map(({ n }) => n)).toEqual(sequence(40).filter((n) => n !== 23))
  expect(await letters()).toMatchObject([{ log_offset: '23' }])
  expect(consumer.status().counts.retries).toBe(3)
})

test('a handler that never ends does not keep the consumer from stopping, and nothing of it stays open', async () => {
  const { broker, send } = await memoryTopic(1)
  await send(sequence(10).map((n) => countedRecord(`k${n}`, n)))
  let stuck = 0
  const endless = counting(async ({ data }, { tx }) => {
    await tx.query('select 1')
    if (data.n !== 5) return
    stuck += 1
    await new Promise(() => undefined)
  })
  const consumer = consume(broker, [endless], { drainMs: 100 })
  await until('one is stuck', () => stuck > 0)
  await consumer.stop()
  const open = `select from pg_stat_activity where datname = current_database() and state like 'idle in%'`
  await until('no transaction is open', async () => (await rows(open)).length === 0)
  expect((await effects()).map(({ n }) => n)).not.toContain(5)
})

test('deadlocks between lanes charge nobody', async () => {
  const { broker, send } = await memoryTopic(1)
  await rows('create table if not exists total (name text primary key, n int not null)')
  await rows(`insert into total values ('x', 0), ('y', 0) on conflict (name) do update set n = 0`)
  await send(sequence(60).map((n) => countedRecord(`k${n}`, n)))
  const crossing = counting(async ({ data }, { tx }) => {
    for (const name of data.n % 2 === 0 ? ['x', 'y'] : ['y', 'x']) await tx.query('update total set n = n + 1 where name = $1', [name])
  })
  await using consumer = consume(broker, [crossing], { lanes: 6, maxTransactions: 6 })
  await settledAll(consumer, broker)
  expect(await rows('select n from total')).toEqual([{ n: 60 }, { n: 60 }])
  expect((await effects()).length).toBe(60)
  expect(consumer.status().counts).toMatchObject({ retries: 0, deadLetters: 0 })
})

test('a connection lost in the middle of a handler charges nobody', async () => {
  const { broker, send } = await memoryTopic(1)
  await send(sequence(20).map((n) => countedRecord(`k${n}`, n)))
  let killed = 0
  const unlucky = counting(async ({ data }, { tx }) => {
    if (data.n !== 9 || killed === 4) return
    killed += 1
    const [row] = await tx.query('select pg_backend_pid() as pid')
    await database.query('select pg_terminate_backend($1)', [row!['pid']])
  })
  await using consumer = consume(broker, [unlucky], { lanes: 1 })
  await settledAll(consumer, broker)
  expect((await effects()).map(({ n }) => n)).toEqual(sequence(20))
  expect(consumer.status().counts).toMatchObject({ retries: 0, deadLetters: 0 })
  expect(killed).toBe(4)
})

describe('a handler whose statement never answers', () => {
  test.each(['copy effect from stdin', 'copy effect to stdout'])(
    'because it is `%s` fails like any other, and its neighbours go on',
    async (text) => {
      const { broker, send } = await memoryTopic(1)
      await send(mixed(3))
      const copying = counting(({ data }, { tx }) => (data.key === 'bad' && data.n === 1 ? tx.query(text) : undefined))
      await using consumer = consume(broker, [copying], { lanes: 1, deadLetter: 'skip' })
      await settledAll(consumer, broker)
      expect(byKey(await effects())).toEqual(
        new Map([
          ['a', [0, 1, 2]],
          ['bad', [0, 2]],
          ['b', [0, 1, 2]],
        ]),
      )
      expect(await letters()).toMatchObject([{ error_class: 'INPUT_INVALID' }])
    },
  )

  test.each([
    ['because it works', `select pg_sleep(42)`],
    ['because it waits for a lock', `lock table deferred /* pg_sleep(42) */`],
  ])('%s is cancelled when the consumer stops', async (_, text) => {
    const { broker, send } = await memoryTopic(1)
    await send([countedRecord('a', 0)])
    // By itself the server would not look whether its client is still there.
    const blind = 'set local client_connection_check_interval = 0'
    const busy = () =>
      rows(
        `select from pg_stat_activity where datname = current_database() and state = 'active' and query like '%pg_sleep(42)%' and pid <> pg_backend_pid()`,
      )
    await database.use(async (session) => {
      await session.run([{ text: 'begin' }, { text: 'lock table deferred' }])
      try {
        const consumer = consume(broker, [counting((_message, { tx }) => Promise.all([tx.query(blind), tx.query(text)]))], { drainMs: 100 })
        await until('it is at it', async () => (await busy()).length === 1)
        await consumer.stop()
        await until('nothing is left on the server', async () => (await busy()).length === 0, 5_000)
      } finally {
        await session.run([{ text: 'rollback' }])
      }
    })
    expect(await effects()).toEqual([])
  })
})

describe('a handler that changes the transaction it runs in', () => {
  const tenant = `tenant_${process.pid}`
  beforeAll(async () => {
    await rows(`create role ${tenant}`)
    await rows(`grant insert on effect to ${tenant}`)
    await rows('create table by_whom (id text, name text)')
    await rows(`grant insert on by_whom to ${tenant}`)
  })
  afterAll(async () => {
    await rows(`drop owned by ${tenant}`)
    await rows(`drop role ${tenant}`)
  })

  test('may take another role: its own statements have it, those of the consumer have not', async () => {
    const { broker, send } = await memoryTopic(1)
    await send(mixed(4))
    const asTenant = onMessage(Counted, async ({ id, data }, { tx }) => {
      await Promise.all([
        tx.query(`set local role ${tenant}`),
        tx.query('insert into by_whom values ($1, current_user)', [id]),
        tx.query(insertEffect, [id, data.key, data.n]),
      ])
    })
    await using consumer = consume(broker, [asTenant], { lanes: 2, maxTransactions: 1 })
    await settledAll(consumer, broker)
    expect(byKey(await effects())).toEqual(new Map(['a', 'bad', 'b'].map((key) => [key, sequence(4)])))
    expect(await rows('select distinct name from by_whom')).toEqual([{ name: tenant }])
    expect(consumer.status().counts).toMatchObject({ handled: 12, uncharged: 0, retries: 0, deadLetters: 0 })
  })

  test('may limit its own statements: those of the consumer wait for as long as they must', async () => {
    const { broker, send } = await memoryTopic(1)
    await send([countedRecord('a', 0)])
    const limited = counting((_message, { tx }) =>
      Promise.all([tx.query(`set local statement_timeout = '60ms'`), tx.query(`set local lock_timeout = '50ms'`)]),
    )
    await using consumer = consume(broker, [limited], { lanes: 1, idleAdvanceMs: 60_000 })
    await settledAll(consumer, broker)
    await database.use(async (session) => {
      await session.run([{ text: 'begin' }, { text: 'select from tidemark.consumer_position for update' }])
      await send([countedRecord('a', 1)])
      await until(
        'it waits for longer than that',
        async () =>
          (
            await rows(`select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
              and clock_timestamp() - query_start > interval '100 ms'`)
          ).length > 0,
      )
      await session.run([{ text: 'commit' }])
    })
    await settledAll(consumer, broker)
    expect(consumer.status().counts).toMatchObject({ handled: 2, uncharged: 0, retries: 0 })
  })

  test.each([
    ['so that nothing can be written', () => 'set transaction read only', /read-only transaction/],
    ['so that the consumer may not go back', () => `set local session authorization ${tenant}`, /permission denied/],
  ])('%s is to blame for it, and its neighbours are not', async (_, change, reason) => {
    const { broker, send } = await memoryTopic(1)
    // It is the last of its batch: one behind it that is run by itself has its settings back.
    await send(mixed(6).slice(0, 8))
    const changing = onMessage(Counted, async ({ id, data }, { tx }) => {
      await tx.query(insertEffect, [id, data.key, data.n])
      if (data.key === 'bad' && data.n === 2) await tx.query(change())
    })
    await using consumer = consume(broker, [changing], { lanes: 1, deadLetter: 'skip' })
    await settledAll(consumer, broker)
    await send(mixed(6).slice(8))
    await settledAll(consumer, broker)
    expect(byKey(await effects())).toEqual(
      new Map([
        ['a', sequence(6)],
        ['bad', [0, 1, 3, 4, 5]],
        ['b', sequence(6)],
      ]),
    )
    expect(await letters()).toMatchObject([{ log_offset: '7', reason: expect.stringMatching(reason) }])
    const { deadLetters, retries } = consumer.status().counts
    expect(deadLetters).toBe(1)
    // A neighbour that fails because of it is charged once at most.
    expect(retries).toBeGreaterThanOrEqual(3)
    expect(retries).toBeLessThanOrEqual(4)
  })

  test('is not charged for a right that the consumer itself lacks, which goes on when it has it', async () => {
    const role = `consumer_${process.pid}`
    await rows(`create role ${role} login password 'only-for-this-test'`)
    await rows(`grant usage on schema tidemark to ${role}`)
    for (const what of ['tables in schema tidemark', 'sequences in schema tidemark', 'tables in schema public'])
      await rows(`grant all on all ${what} to ${role}`)
    const as = new URL(url)
    Object.assign(as, { username: role, password: 'only-for-this-test' })
    const own = new PostgresDatabase({ connectionString: as.href })
    try {
      const { broker, send } = await memoryTopic(1)
      await send(mixed(2))
      await using consumer = consume(broker, [countEffect], { lanes: 1, store: new PostgresConsumerStore({ database: own }) })
      await settledAll(consumer, broker)
      await rows(`revoke update on tidemark.consumer_position from ${role}`)
      await send(mixed(4).slice(6))
      await until('it has tried several times', () => consumer.status().counts.uncharged >= 3)
      expect(consumer.status().counts).toMatchObject({ retries: 0, deadLetters: 0, handled: 6 })
      await rows(`grant update on tidemark.consumer_position to ${role}`)
      await settledAll(consumer, broker)
      expect(byKey(await effects())).toEqual(new Map(['a', 'bad', 'b'].map((key) => [key, sequence(4)])))
      expect(await letters()).toEqual([])
    } finally {
      await own.close()
      await rows(`drop owned by ${role}`)
      await rows(`drop role ${role}`)
    }
  })
})
