import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from 'vitest'
import { PostgresDatabase, migrate } from '../../src/drivers/postgres/index.ts'
import { startProgram } from '../support/child-program.ts'
import { testDatabase } from '../support/postgres.ts'
import { until } from '../support/until.ts'
import { listen } from './support/listen.ts'

/** Processes that end by SIGKILL between any two steps of a call to the outside, or of a request that came in. */

const { connectionString } = await testDatabase('ledger_crash')
const url = connectionString()
const database = new PostgresDatabase({ connectionString: url, maxConnections: 2 })
afterAll(() => database.close())
beforeAll(async () => {
  await migrate(database, { set: 'service' })
  await database.query('create table placed (id text)')
})
beforeEach(async () => void (await database.query('truncate placed, tidemark.idempotency_key')))

/** Another side that knows keys: it counts its calls, and does each key's work once. */
async function otherSide(): Promise<{ readonly url: string; readonly calls: string[]; readonly charges: Map<string, number> }> {
  const calls: string[] = []
  const charges = new Map<string, number>()
  const { url, close } = await listen(async (request) => {
    const key = request.headers.get('idempotency-key')!
    calls.push(key)
    if (!charges.has(key)) charges.set(key, charges.size + 1)
    return Response.json({ charge: charges.get(key) })
  })
  onTestFinished(close)
  return { url, calls, charges }
}

async function run(
  side: string,
  onUnknown: 'call again' | 'fail',
  crashPoint?: string,
): Promise<{ signal: NodeJS.Signals | null; said: string }> {
  const env = crashPoint === undefined ? {} : { TIDEMARK_CRASH_POINT: crashPoint }
  const { signal, stdout, stderr } = await startProgram(new URL('support/once-process.ts', import.meta.url), [url, side, onUnknown], {
    env,
  }).ended
  expect(stderr).toBe('')
  return { signal, said: stdout.trim() }
}

const expected = [
  ['ledger:after-begin', 'call again', '{"charge":1}', 1],
  ['ledger:after-begin', 'fail', 'OUTCOME_UNKNOWN', 0],
  ['ledger:after-call', 'call again', '{"charge":1}', 2],
  ['ledger:after-call', 'fail', 'OUTCOME_UNKNOWN', 1],
  ['ledger:after-store', 'call again', '{"charge":1}', 1],
  ['ledger:after-store', 'fail', '{"charge":1}', 1],
] as const

test.each(expected)('killed at %s, with %s: the next run says %s', async (crashPoint, onUnknown, said, calls) => {
  const side = await otherSide()
  expect((await run(side.url, onUnknown, crashPoint)).signal).toBe('SIGKILL')
  expect((await run(side.url, onUnknown)).said).toBe(said)
  // Calls may be more than one, charges never.
  expect(side.calls.length).toBe(calls)
  expect(side.charges.size).toBeLessThanOrEqual(1)
})

async function startApi(afterCrash: string, withEffect: string, crashPoint?: string): Promise<{ send(): Promise<Response | null> }> {
  const env = crashPoint === undefined ? {} : { TIDEMARK_CRASH_POINT: crashPoint }
  const program = startProgram(new URL('support/http-process.ts', import.meta.url), [url, afterCrash, withEffect], { env })
  const at = await program.line(0)
  return { send: () => fetch(at, { method: 'POST', headers: { 'idempotency-key': 'k-1' }, body: 'o-1' }).catch(() => null) }
}

const ways = [
  ['ledger:after-begin', 'conflict', 'no', 409, 0],
  ['ledger:after-begin', 'run again', 'yes', 201, 1],
  ['ledger:after-call', 'conflict', 'no', 409, 1],
  ['ledger:after-call', 'run again', 'no', 201, 2],
  ['ledger:after-call', 'run again', 'yes', 201, 1],
  ['ledger:after-store', 'conflict', 'no', 201, 1],
] as const

test.each(ways)(
  'an API killed in mid-request at %s, then %s, response stored with the effect: %s; answers %i',
  async (crashPoint, afterCrash, withEffect, status, effects) => {
    const first = await startApi(afterCrash, withEffect, crashPoint)
    expect(await first.send()).toBe(null)
    const second = await startApi(afterCrash, withEffect)
    const now = await second.send()
    // Until the lease of the killed process is over, nobody can tell that it was killed.
    if (now?.status === 409) expect(['1', null]).toContain(now.headers.get('retry-after'))
    let response = now!
    await until('the lease is over', async () => {
      if (response.headers.get('retry-after') !== null) response = (await second.send())!
      return response.headers.get('retry-after') === null
    })
    expect(response.status).toBe(status)
    if (status === 201) expect(await response.json()).toEqual({ placed: 'o-1' })
    expect(await database.query('select from placed')).toHaveLength(effects)
  },
)
