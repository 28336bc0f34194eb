import { MemoryDatabase, MemoryLedgerStore } from '../../src/drivers/memory/index.ts'
import { TidemarkError } from '../../src/errors.ts'
import { type Ledger, type LedgerStore, forgetCalls, ledger, ledgerKey, once, settleCall } from '../../src/inbox/index.ts'
import { systemClock } from '../../src/internal/clock.ts'
import { beforeEach, expect, test } from 'vitest'

/** Calls to the outside whose ledger does not answer, or fails. */

const message = { source: 'https://shop', id: 'o-1' }
let later = 0
let store: MemoryLedgerStore
let billing: Ledger
beforeEach(() => {
  later = 0
  store = new MemoryLedgerStore(new MemoryDatabase({ clock: { ...systemClock, now: () => Date.now() + later } }))
  billing = ledger({ store, scope: 'billing' })
})

function but(change: Partial<LedgerStore>): Ledger {
  const all: LedgerStore = {
    begin: (...given) => store.begin(...given),
    change: (...given) => store.change(...given),
    remove: (...given) => store.remove(...given),
    forget: (...given) => store.forget(...given),
    counts: () => store.counts(),
  }
  return ledger({ store: { ...all, ...change }, scope: 'billing' })
}

const failing = (): Promise<never> => Promise.reject(new TidemarkError('DATABASE_UNREACHABLE', 'away'))
const failedCall = (): Promise<unknown> =>
  once(billing, message, 'charge', () => Promise.reject(new Error('no reply'))).catch(() => undefined)

test.each<[what: string, renewed: () => Promise<null>]>([
  ['does not answer', () => new Promise<never>(() => undefined)],
  ['fails', failing],
])('a call is told that its lease is over when the ledger %s for so long', async (_what, renewed) => {
  const silent = but({ change: (key, token, change) => (change.to === 'renewed' ? renewed() : store.change(key, token, change)) })
  const hanging = (): Promise<never> => new Promise(() => undefined)
  await expect(once(silent, message, 'charge', hanging, { leaseMs: 30 })).rejects.toMatchObject({ code: 'CALL_IN_PROGRESS' })
})

test('who settles a call hears that it could not be noted, and can do it again', async () => {
  await failedCall()
  const noRemove = but({ remove: failing })
  await expect(settleCall(noRemove, message, 'charge', { outcome: 'not done' })).rejects.toMatchObject({ code: 'DATABASE_UNREACHABLE' })
  const noDone = but({ change: (key, token, change) => (change.to === 'done' ? failing() : store.change(key, token, change)) })
  const done = { outcome: 'done', response: 'ch-1' } as const
  await expect(settleCall(noDone, message, 'charge', done)).rejects.toMatchObject({ code: 'DATABASE_UNREACHABLE' })
  await settleCall(billing, message, 'charge', done)
  expect(await once(billing, message, 'charge', () => Promise.resolve('another'))).toBe('ch-1')
})

test('a call that somebody could not settle is not forgotten', async () => {
  await failedCall()
  const change: LedgerStore['change'] = (key, token, asked) => (asked.to === 'done' ? failing() : store.change(key, token, asked))
  await settleCall(but({ change }), message, 'charge', { outcome: 'done', response: 1 }).catch(() => undefined)
  later = 1_000 * 24 * 3_600_000
  const again = once(billing, message, 'charge', () => Promise.resolve('another'), { onUnknown: 'fail' })
  await expect(again).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN' })
})

test('what has expired is forgotten, however much it is, and nothing else', async () => {
  const end = async (n: number, keepMs: number): Promise<void> => {
    const key = ledgerKey('billing', { source: 's', id: String(n) }, 'charge')
    const { entry } = await store.begin(key, { fingerprint: null, leaseMs: 1, keepMs: 1 })
    await store.change(key, entry.token, { to: 'done', response: { format: 'none', body: Buffer.alloc(0) }, keepMs })
  }
  for (let n = 0; n < 2_500; n++) await end(n, -1)
  await end(2_500, 60_000)
  expect(await forgetCalls(billing)).toBe(2_500)
  expect(await store.counts()).toEqual([{ scope: 'billing', state: 'done', entries: 1 }])
})

test('where the response could not be stored, its error is thrown, and the call is in progress until its lease is over', async () => {
  const away = but({ change: (key, token, change) => (change.to === 'done' ? failing() : store.change(key, token, change)) })
  await expect(once(away, message, 'charge', () => Promise.resolve('ok'))).rejects.toMatchObject({ code: 'DATABASE_UNREACHABLE' })
  const again = (): Promise<unknown> => once(billing, message, 'charge', ({ isRepeat }) => Promise.resolve(isRepeat), { waitMs: 0 })
  await expect(again()).rejects.toMatchObject({ code: 'CALL_IN_PROGRESS' })
  later = 15_001
  expect(await again()).toBe(true)
})
