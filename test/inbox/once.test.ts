import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { MemoryDatabase, MemoryLedgerStore } from '../../src/drivers/memory/index.ts'
import { PostgresDatabase, PostgresLedgerStore, migrate } from '../../src/drivers/postgres/index.ts'
import {
  type Ledger,
  type OnceOptions,
  type OutsideCall,
  idempotencyKey,
  ledger,
  ledgerKey,
  once,
  settleCall,
} from '../../src/inbox/index.ts'
import { testDatabase } from '../support/postgres.ts'
import { until } from '../support/until.ts'

const { connectionString } = await testDatabase('once')
const database = new PostgresDatabase({ connectionString: connectionString(), maxConnections: 4 })
afterAll(() => database.close())
await migrate(database, { set: 'service' })

const message = { source: 'https://shop', id: 'o-1' }
const stores = {
  memory: () => new MemoryLedgerStore(new MemoryDatabase()),
  postgres: () => new PostgresLedgerStore({ database }),
}

/** An error of an unknown outcome. */
const reset = (): Error => Object.assign(new Error('socket hang up'), { code: 'ECONNRESET' })

describe.each(Object.entries(stores))('a call to the outside, noted in %s', (_name, makeStore) => {
  let billing: Ledger
  let calls: OutsideCall[]
  beforeEach(async () => {
    await database.query('truncate tidemark.idempotency_key')
    billing = ledger({ store: makeStore(), scope: 'billing' })
    calls = []
  })

  function charging(answer: (call: OutsideCall) => unknown): (call: OutsideCall) => Promise<unknown> {
    return async (call) => {
      calls.push(call)
      return answer(call)
    }
  }

  /** The call of the message, noted as one of its steps. */
  function charge(answer: (call: OutsideCall) => unknown, options: OnceOptions<unknown> = {}, step = 'charge'): Promise<unknown> {
    return once(billing, message, step, charging(answer), options)
  }

  test.each<[what: string, value: unknown, kept: unknown]>([
    ['data', { id: 'ch-1', at: new Date(0), none: undefined }, { id: 'ch-1', at: '1970-01-01T00:00:00.000Z' }],
    ['bytes', Buffer.from([0, 1, 255]), new Uint8Array([0, 1, 255])],
    ['nothing', undefined, undefined],
    ['null', null, null],
  ])('that returns %s is made once, and a repeat gets the same', async (_what, value, kept) => {
    expect(await charge(() => value)).toEqual(kept)
    expect(await charge(() => 'another')).toEqual(kept)
    expect(calls.length).toBe(1)
  })

  test('has a key of its own for each group, message and step, the same in every run', async () => {
    const failing = charging(() => Promise.reject(reset()))
    for (let run = 0; run < 2; run++) await expect(once(billing, message, 'charge', failing)).rejects.toThrow('socket hang up')
    await charge(() => 1, {}, 'mail')
    await once(
      billing,
      { ...message, id: 'o-2' },
      'charge',
      charging(() => 1),
    )
    await once(
      ledger({ ...billing, scope: 'audit' }),
      message,
      'charge',
      charging(() => 1),
    )
    const [first, second, ...others] = calls.map(({ key }) => key)
    expect(first).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    expect(second).toBe(first)
    expect(first).toBe(idempotencyKey(ledgerKey('billing', message, 'charge')))
    expect(new Set([first, ...others]).size).toBe(4)
  })

  test('that threw is made again with the same key, and told that it is a repeat', async () => {
    await expect(charge(() => Promise.reject(reset()))).rejects.toThrow('socket hang up')
    expect(await charge(() => 'ok')).toBe('ok')
    expect(calls.map(({ isRepeat }) => isRepeat)).toEqual([false, true])
  })

  test('that never reached the other side is no repeat', async () => {
    const refused = new TypeError('fetch failed', { cause: Object.assign(new Error('no'), { code: 'ECONNREFUSED' }) })
    await expect(charge(() => Promise.reject(refused), { onUnknown: 'fail' })).rejects.toBe(refused)
    expect(await charge(() => 'ok', { onUnknown: 'fail' })).toBe('ok')
    expect(calls.map(({ isRepeat }) => isRepeat)).toEqual([false, false])
  })

  test('that may have been made fails by option, without a secret in the error, until somebody says how it ended', async () => {
    const options = { onUnknown: 'fail' } as const
    const failing = charging(() => Promise.reject(new Error('token sk_live_1')))
    await expect(once(billing, message, 'charge', failing, options)).rejects.toThrow('sk_live_1')
    const failure: unknown = await once(billing, message, 'charge', failing, options).catch((error: unknown) => error)
    expect(failure).toMatchObject({ code: 'OUTCOME_UNKNOWN', details: { ...message, step: 'charge' } })
    expect(JSON.stringify(failure) + String(failure)).not.toContain('sk_live')
    expect(calls.length).toBe(1)
    await settleCall(billing, message, 'charge', { outcome: 'done', response: 'ch-9' })
    expect(await once(billing, message, 'charge', failing, options)).toBe('ch-9')
    await expect(settleCall(billing, message, 'charge', { outcome: 'not done' })).rejects.toMatchObject({ code: 'INPUT_INVALID' })
  })

  test('that somebody found not to have been made is made', async () => {
    const options = { onUnknown: 'fail' } as const
    await expect(charge(() => Promise.reject(reset()), options)).rejects.toThrow()
    await settleCall(billing, message, 'charge', { outcome: 'not done' })
    expect(await charge(() => 'ok', options)).toBe('ok')
    expect(calls.at(-1)?.isRepeat).toBe(false)
  })

  test('asks the other side how it ended, by option', async () => {
    const asked: string[] = []
    const run = (found: 'done' | 'not done' | 'unknown'): Promise<unknown> => {
      const onUnknown = async ({ key }: OutsideCall): Promise<{ outcome: typeof found; response: string }> => {
        asked.push(key)
        return { outcome: found, response: 'found' }
      }
      return charge(() => (calls.length < 2 ? Promise.reject(reset()) : 'made'), { onUnknown })
    }
    await expect(run('done')).rejects.toThrow('socket hang up')
    await expect(run('unknown')).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN' })
    expect(calls.length).toBe(1)
    expect(await run('done')).toBe('found')
    expect(asked).toEqual([calls[0]!.key, calls[0]!.key])
    await expect(charge(() => Promise.reject(reset()), { onUnknown: 'fail' }, 'mail')).rejects.toThrow()
    const notDone = charge(() => 'made', { onUnknown: async () => ({ outcome: 'not done' }) }, 'mail')
    expect(await notDone).toBe('made')
  })

  test('is made by one of many at once, and all get its response', async () => {
    const answers = await Promise.all(Array.from({ length: 10 }, () => charge(async () => calls.length)))
    expect(answers).toEqual(Array.from({ length: 10 }, () => 1))
    expect(calls.length).toBe(1)
  })

  test('that takes longer than others want to wait leaves them with an error that may be retried', async () => {
    let end: (value: string) => void = () => undefined
    const long = charge(() => new Promise<string>((resolve) => (end = resolve)))
    await until('the call is made', () => calls.length === 1)
    const other = charge(() => 'another', { waitMs: 0 })
    await expect(other).rejects.toMatchObject({ code: 'CALL_IN_PROGRESS', retryable: true })
    end('ok')
    expect(await long).toBe('ok')
  })

  test('keeps its lease for as long as it takes', async () => {
    let end: (value: string) => void = () => undefined
    const long = charge(() => new Promise<string>((resolve) => (end = resolve)), { leaseMs: 300 })
    await until('the call is made', () => calls.length === 1)
    const waited = await charge(() => 'another', { waitMs: 700 }).catch((error: unknown) => error)
    expect(waited).toMatchObject({ code: 'CALL_IN_PROGRESS' })
    end('ok')
    expect(await long).toBe('ok')
    expect(calls.length).toBe(1)
  })

  test('ends with its time, with the signal of its caller, and when its lease is lost', async () => {
    const hanging = charging(() => new Promise(() => undefined))
    await expect(once(billing, message, 'one', hanging, { timeoutMs: 20 })).rejects.toMatchObject({ name: 'TimeoutError' })
    const giveUp = new AbortController()
    const given = once(billing, message, 'two', hanging, { signal: giveUp.signal })
    await until('the call is made', () => calls.length === 2)
    giveUp.abort(new Error('partition lost'))
    await expect(given).rejects.toThrow('partition lost')
    const stolen = once(billing, message, 'three', hanging, { leaseMs: 60 })
    await until('the call is made', () => calls.length === 3)
    const key = ledgerKey('billing', message, 'three')
    const claim = { fingerprint: null, leaseMs: 60_000, keepMs: 60_000 }
    const { entry } = await billing.store.begin(key, claim)
    await billing.store.change(key, entry.token, { to: 'in progress', claim })
    await expect(stolen).rejects.toMatchObject({ code: 'CALL_IN_PROGRESS' })
    expect(calls.every(({ signal }) => signal.aborted)).toBe(true)
  })

  test('that was taken over while its owner stood still has one response for all', async () => {
    const key = ledgerKey('billing', message, 'charge')
    const claim = { fingerprint: null, leaseMs: 60_000, keepMs: 60_000 }
    const slow = charging(async () => {
      // What a successor does that finds the lease over.
      const { entry } = await billing.store.begin(key, claim)
      const taken = await billing.store.change(key, entry.token, { to: 'in progress', claim })
      const response = { format: 'json', body: Buffer.from('"of the successor"') } as const
      await billing.store.change(key, taken!.token, { to: 'done', response, keepMs: 60_000 })
      return 'of the sleeper'
    })
    expect(await once(billing, message, 'charge', slow)).toBe('of the successor')
  })

  test.each<[what: string, value: unknown]>([
    ['is too large', 'x'.repeat(100)],
    ['is not JSON', { secret: 'sk_live_1', count: 1n }],
    ['is a function', () => 1],
  ])('whose response %s fails without quoting it, and is made again by a mended handler', async (_what, value) => {
    const failure: unknown = await charge(() => value, { maxResponseBytes: 100 }).catch((error: unknown) => error)
    expect(failure).toMatchObject({ code: 'INPUT_INVALID' })
    expect(String(failure)).not.toMatch(/sk_live|xxx/)
    expect(await charge(({ isRepeat }) => isRepeat)).toBe(true)
  })

  test('is forgotten after its time', async () => {
    await charge(() => 1, { keepMs: 1 })
    await until('it has expired', async () => (await billing.store.forget(10)) === 1)
    expect(await charge(() => 2)).toBe(2)
  })
})
