import { PassThrough } from 'node:stream'
import type { ServiceStatus } from 'tidemark'
import { describe, expect, test } from 'vitest'
import { liveScreen } from '../../examples/shop/program/live-screen.ts'
import { lineOf, type Look, tableOf } from '../../examples/shop/program/live-table.ts'

const status: ServiceStatus = {
  name: 'payments',
  place: '127.0.0.1:5432/shop_payments',
  lagError: null,
  findings: [],
  horizon: { recognisedMs: 1, rememberedSince: null, exceededBy: [] },
  outbox: { pending: 3, held: { keys: 0, messages: 0 }, relays: [{ phase: 'owner', epoch: 1, tick: 9, published: 1_234, error: null }] },
  groups: [
    {
      group: 'payments',
      lags: [
        { group: 'payments', topic: 'outbox.event.order', end: 20, handled: 15, lag: 5 },
        { group: 'payments', topic: 'outbox.event.stock', end: 7, handled: 5, lag: 2 },
      ],
      consumer: {
        state: 'running',
        counts: {
          handled: 20,
          retried: 0,
          parked: 0,
          passedOn: 0,
          immediateRetries: 0,
          duplicates: { position: 1, highWater: 2, inbox: 4 },
          skippedTypes: {},
          queued: 0,
          deadLetters: 1,
          retries: 6,
          batches: 3,
          abandonedRuns: 0,
          uncharged: 0,
        },
        partitions: [],
        breaker: null,
        trouble: null,
      },
      splitKeys: [],
      owner: null,
      runbook: null,
    },
  ],
}
const look: Look = { arrivals: { total: 2_000, placed: 1_500 }, statuses: [status], states: new Map([['PENDING', 12]]) }

describe('the live table', () => {
  test('has a row per service, the states of orders, and how many have arrived', () => {
    expect(tableOf(look)).toEqual([
      '          events in    out  lag  retries  duplicates  dead letters',
      'payments         20  1,234    7        6           7             1',
      '',
      'PENDING 12  PROCESSING 0  COMPLETED 0  CANCELLED 0',
      '1,500 of 2,000 orders placed',
    ])
  })

  test('says that nobody knows what waits while the broker does not say', () => {
    const away = { ...status, lagError: new Error('away'), groups: status.groups.map((group) => ({ ...group, lags: null })) }
    expect(tableOf({ ...look, statuses: [away] })[1]).toBe('payments         20  1,234    ?        6           7             1')
    expect(lineOf({ ...look, statuses: [away] })).toContain('payments in 20 out 1234 lag ? |')
  })

  test('says when the input is exhausted, also in a log', () => {
    expect(lineOf({ ...look, arrivals: { total: 2_000, placed: 2_000 } })).toBe(
      '2,000 of 2,000 orders placed: the input is exhausted | payments in 20 out 1234 lag 7 | PENDING 12  PROCESSING 0  COMPLETED 0  CANCELLED 0',
    )
  })

  test('is drawn over itself in a terminal, cut to its width', () => {
    const stream = Object.assign(new PassThrough(), { isTTY: true, columns: 11 })
    const screen = liveScreen(stream)
    screen.draw(['a table wider than that', 'b'])
    screen.draw(['c'])
    screen.say('news')
    expect(String(stream.read())).toBe('\u001b[Ja table wi\nb\n\u001b[2A\u001b[Jc\n\u001b[1A\u001b[Jnews\n\u001b[Jc\n')
  })

  test('is a line every ten seconds where there is no terminal', () => {
    const stream = new PassThrough()
    const screen = liveScreen(stream)
    screen.draw(['c'])
    expect(screen).toMatchObject({ intervalMs: 10_000, isTerminal: false })
    expect(String(stream.read())).toBe('c\n')
  })
})
