import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import type { DatabaseDriver } from '../drivers/port.ts'
import { event } from '../message/index.ts'
import { type ServiceOptions, checkService, consumerSettings, outboxSettings, relaySettings } from './options.ts'
import { service } from './service.ts'

/** Every option of both groups, none of them at its default. */
const outbox = {
  published: 'keep',
  streams: 2,
  retention: { partitionRows: 5_000, ahead: 3, keepMs: 0, everyMs: 50 },
  pageSize: 10,
  idleMs: 5,
  leaseMs: 3_000,
  maintain: false,
} as const
const consumer = {
  addedPartitions: 'wait',
  lanes: 2,
  maxTransactions: 3,
  batch: { maxMessages: 5, maxBytes: 6, targetMs: 7 },
  retry: { maxAttempts: 1, baseDelayMs: 0, maxDelayMs: 1 },
  deadLetter: 'skip',
  buffer: { messages: 8, bytes: 9 },
  fetchBytes: 10,
  idleAdvanceMs: 11,
  drainMs: 0,
  lockTimeoutMs: 12,
  sessionTimeoutMs: 13,
  dedupMs: 14,
  codeVersion: 'v15',
  idempotencyId: 'x-id',
} as const

const Other = event('Other', { aggregate: 'order', key: () => 'k', schema: z.object({}) })
const Placed = event('Placed', { aggregate: 'order', key: () => 'k', schema: z.object({}) })

describe('what consume takes', () => {
  test.each<[options: object, message: string]>([
    [{ deadLetter: 'drop' }, "shop.consume(Placed): deadLetter is 'block' or 'skip'; got 'drop'."],
    [{ retries: { maxAttempts: 1 } }, 'shop.consume(Placed) has no option "retries"; it has group, startFrom,'],
    [{ retry: { maxAttempts: 0 } }, 'retry.maxAttempts is a whole number from 1 on, or Infinity; got 0.'],
    [{ timeoutMs: 0 }, 'timeoutMs is a whole number from 1 to 2,147,483,647 (milliseconds); got 0.'],
    [
      { startFrom: 'beginning' },
      "startFrom is 'earliest', 'latest', 'committed', { committed: 'name of a group' } or a Date; got 'beginning'.",
    ],
    [{ startFrom: new Date('never') }, 'got Invalid Date.'],
    [{ startFrom: { committed: '' } }, 'got an object.'],
    [{ startFrom: { comitted: 'g' } }, 'got an object.'],
    [{ idempotent: true }, "idempotent is 'inbox' or 'natural'; got true."],
    [{ transaction: true }, "transaction is 'batch' or 'message'; got true."],
    [{ group: '' }, 'group is a text that is not empty'],
  ])('is refused when it is wrong: %j', (options, message) => {
    expect(() => service('shop').consume(Placed, options, () => undefined)).toThrow(message)
  })

  test.each<[what: string, consume: (shop: ReturnType<typeof service>) => unknown, message: string]>([
    [
      'two handlers of one event in one group',
      (shop) => shop.consume(Placed, () => undefined),
      'Two handlers of one group for the event "Placed"',
    ],
    [
      'another beginning of the same group',
      (shop) => shop.consume(Other, { startFrom: 'latest' }, () => undefined),
      'name different values of startFrom',
    ],
  ])('is refused at the call, before anything is opened, where it is %s', (_what, consume, message) => {
    const shop = service('shop').consume(Placed, { startFrom: 'earliest' }, () => undefined)
    const refused = expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringContaining(message) as string }) as Error
    expect(() => consume(shop)).toThrow(refused)
    expect(() => consume(shop)).toThrow(refused)
  })

  test.each<[what: string, consumer: NonNullable<ServiceOptions['consumer']>, deadLetter: 'block' | 'skip', message: RegExp]>([
    ['a handler blocks beside retry topics', { retryTopics: true }, 'block', /do not go together/],
    ['the topic of the dead has a name that no topic can have', { deadLetterTopic: () => 'a b' }, 'skip', /no name of a topic/],
  ])('is refused at the call where %s', (_what, consumer, deadLetter, message) => {
    expect(() => service('shop', { consumer }).consume(Placed, { deadLetter }, () => undefined)).toThrow(message)
  })

  test('is taken with each of its options', () => {
    const options = {
      group: 'mine',
      startFrom: new Date(0),
      name: 'h',
      transaction: 'message',
      deadLetter: 'skip',
      idempotent: 'natural',
    } as const
    expect(() => service('shop').consume(Placed, options, () => undefined)).not.toThrow()
  })
})

describe('the settings of a service', () => {
  test('reach database, relay and consumer, all of them', () => {
    checkService('shop', { outbox, consumer })
    const { published, streams, retention, ...relay } = outbox
    expect(outboxSettings({ outbox })).toEqual({ published, streams, retention })
    expect(relaySettings({ outbox })).toEqual(relay)
    expect(consumerSettings({ consumer })).toEqual(consumer)
    expect(consumerSettings({ lanes: 7, drainMs: 8, consumer: { maxTransactions: 9 } })).toEqual({
      lanes: 7,
      drainMs: 8,
      maxTransactions: 9,
    })
  })

  test('that are undefined leave the default in its place', () => {
    const absent = {
      outbox: { streams: undefined, pageSize: undefined },
      consumer: { retry: { maxAttempts: undefined }, lanes: undefined },
    }
    const given = Object.assign<ServiceOptions, object>({}, absent)
    checkService('shop', given)
    expect([outboxSettings(given), relaySettings(given), consumerSettings(given)]).toEqual([{}, {}, { retry: {} }])
  })

  test.each<[options: object, message: string]>([
    [{ outbox: 'delete' }, 'service("shop"): outbox is an object; got \'delete\'.'],
    [{ outbox: { published: 'drop' } }, "outbox.published is 'keep' or 'delete'; got 'drop'."],
    [{ outbox: { strems: 2 } }, 'has no option "outbox.strems"; outbox has published, streams,'],
    [{ outbox: { streams: 0 } }, 'outbox.streams is a whole number from 1 to 64; got 0.'],
    [{ outbox: { streams: 65 } }, 'got 65.'],
    [{ outbox: { streams: '2' } }, "got '2'."],
    [{ outbox: { pageSize: 1.5 } }, 'outbox.pageSize is a whole number from 1 on; got 1.5.'],
    [{ outbox: { leaseMs: Number.NaN } }, 'outbox.leaseMs is a whole number from 1 to 2,147,483,647 (milliseconds); got NaN.'],
    [{ outbox: { idleMs: Infinity } }, 'outbox.idleMs is'],
    [{ outbox: { maintain: 'no' } }, "outbox.maintain is true or false; got 'no'."],
    [{ outbox: { retention: 5 } }, 'outbox.retention is an object; got 5.'],
    [{ outbox: { retention: { keepMs: -1 } } }, 'outbox.retention.keepMs is a whole number from 0 on; got -1.'],
    [{ outbox: { retention: { keep: 1 } } }, 'has no option "outbox.retention.keep"; outbox.retention has partitionRows'],
    [{ outbox: { published: 'delete', retention: { keepMs: 1 } } }, 'there is none'],
    [{ consumer: null }, 'consumer is an object; got null.'],
    [{ consumer: { retry: { maxAttempts: 0 } } }, 'consumer.retry.maxAttempts is a whole number from 1 on, or Infinity; got 0.'],
    [{ consumer: { retry: { attempts: 3 } } }, 'has no option "consumer.retry.attempts"; consumer.retry has maxAttempts'],
    [{ consumer: { retry: { baseDelayMs: -5 } } }, 'consumer.retry.baseDelayMs is a whole number from 0'],
    [{ consumer: { deadLetter: 'drop' } }, "consumer.deadLetter is 'block' or 'skip'; got 'drop'."],
    [{ consumer: { batch: { maxMessages: 0 } } }, 'consumer.batch.maxMessages'],
    [{ consumer: { drainMs: -1 } }, 'consumer.drainMs is a whole number from 0'],
    [
      { consumer: { sessionTimeoutMs: [] } },
      'consumer.sessionTimeoutMs is a whole number from 1 to 2,147,483,647 (milliseconds); got an array.',
    ],
    [{ consumer: { retry: { baseDelayMs: 120_000 } } }, 'consumer.retry: baseDelayMs is at most maxDelayMs; got 120000 and 60000.'],
    [{ consumer: { retry: { deadlineMs: 0 } } }, 'consumer.retry.deadlineMs is a whole number from 1'],
    [{ consumer: { retry: { baseDelayMs: 9, maxDelayMs: 5 } } }, 'consumer.retry: baseDelayMs is at most maxDelayMs; got 9 and 5.'],
    [
      { consumer: { retry: { byClass: { bug: { baseDelayMs: 9, maxDelayMs: 5 } } } } },
      'consumer.retry.byClass.bug: baseDelayMs is at most maxDelayMs; got 9 and 5.',
    ],
    [
      { consumer: { parked: { bytesPerKey: 9, bytesPerPartition: 5 } } },
      'consumer.parked: bytesPerKey is at most bytesPerPartition; got 9 and 5.',
    ],
    [{ consumer: { parked: { bytesPerKey: 2 ** 30 } } }, 'got 1073741824 and 268435456.'],
    [{ consumer: { retryLeaseMs: 1 } }, 'consumer.retryLeaseMs is a whole number from 100'],
    [{ consumer: { retryTopics: { delaysMs: [50, 50] } } }, 'delaysMs a list of milliseconds that rise'],
    [{ consumer: { retryTopics: { delaysMs: [2, 1] } } }, 'delaysMs a list of milliseconds that rise'],
    [{ consumer: { retryTopics: { delaysMs: ['1'] } } }, 'delaysMs a list of milliseconds that rise'],
    [
      { consumer: { retryTopics: true, deadLetter: 'block' } },
      "consumer.retryTopics gives up the order of a key, which consumer.deadLetter 'block'",
    ],
    [{ consumer: { idempotencyId: 7 } }, 'consumer.idempotencyId is a text that is not empty, or a function; got 7.'],
    [{ consumer: { toString: 1 } }, 'has no option "consumer.toString"'],
    [{ lanes: 2, consumer: { lanes: 3 } }, 'lanes and consumer.lanes are one setting; got 2 and 3. Give one.'],
    [{ drainMs: -1 }, 'drainMs is a whole number from 0'],
    [{ relay: 'yes' }, "relay is true or false; got 'yes'."],
    [{ group: '' }, "group is a text that is not empty; got ''."],
    [{ retry: { maxAttempts: 3 } }, 'has no option "retry"; it has database, broker,'],
    [{ broker: {} }, 'broker is a broker, such as postgresBroker'],
    [
      { database: 'postgres://me:secret@localhost/shop' },
      'database is a database driver, such as postgres({ pool }) or memory(); got a text.',
    ],
  ])('are refused before anything is opened when one is wrong: %j', (options, message) => {
    const opened: string[] = []
    const database: DatabaseDriver = {
      open: (name) => {
        opened.push(name)
        return Promise.reject(new Error('opened'))
      },
    }
    let failure: unknown
    try {
      void service('shop', { database, ...options })
    } catch (error) {
      failure = error
    }
    expect(failure).toMatchObject({ code: 'CONFIG_INVALID' })
    expect(String(failure)).toContain(message)
    expect(String(failure)).not.toContain('secret')
    expect(opened).toEqual([])
  })
})
