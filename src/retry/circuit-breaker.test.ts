import { expect, test } from 'vitest'
import { type BreakerFailure, CircuitBreaker, defaultBreakerPolicy } from './index.ts'

function breaker(): { machine: CircuitBreaker; told: string[]; fail(key: string, more?: Partial<BreakerFailure>, now?: number): string } {
  const told: string[] = []
  const machine = new CircuitBreaker(defaultBreakerPolicy, {
    opened: ({ errorClass }) => told.push(`opened by ${errorClass}`),
    closed: () => told.push('closed'),
    succeeded: (handler) => told.push(`${handler} succeeded`),
  })
  const failure = { handler: 'h', is: 'bug', errorClass: 'Error', signature: 'Error at x', first: true } as const
  return { machine, told, fail: (key, more = {}, now = 0) => machine.failed({ ...failure, key, ...more }, now, 1) }
}

test('an outage opens it at the third key in a row, whatever the errors look like', () => {
  const { machine, told, fail } = breaker()
  const outage = (signature: string) => ({ is: 'transient' as const, signature })
  expect([fail('a', outage('1')), fail('a', outage('2')), fail('b', outage('3')), fail('c', outage('4'))]).toEqual([
    'charge',
    'charge',
    'charge',
    'hold',
  ])
  expect(machine.isOpen).toBe(true)
  expect(told).toEqual(['opened by Error'])
})

test('other failures open it at ten keys alike, and what can never be handled does not, however often it comes', () => {
  const { machine, fail } = breaker()
  for (let key = 0; key < 9; key++) expect(fail(`k${key}`)).toBe('charge')
  for (let key = 0; key < 9; key++) expect(fail(`k${key}`, { signature: 'another' })).toBe('charge')
  for (let key = 0; key < 999; key++) expect(fail(`k${key}`, { is: 'poison', signature: 'poison' })).toBe('charge')
  expect(fail('one more')).toBe('hold')
  expect(machine.cause).toMatchObject({ handler: 'h', signature: 'Error at x' })
})

test('a success between them makes them failures of their own messages', () => {
  const { machine, fail } = breaker()
  for (let round = 0; round < 50; round++) {
    expect(fail(`a${round}`, { is: 'transient' })).toBe('charge')
    expect(fail(`b${round}`, { is: 'transient' })).toBe('charge')
    machine.succeeded('h')
  }
  expect(machine.isOpen).toBe(false)
})

test('a success of another handler says nothing', () => {
  const { machine, fail } = breaker()
  for (const key of ['a', 'b', 'c']) {
    machine.succeeded('other')
    fail(key, { is: 'transient' })
  }
  expect(machine.isOpen).toBe(true)
  machine.succeeded('other')
  expect(machine.isOpen).toBe(true)
})

test('lanes and retriers probe each at their own times: failures of what waits parked do not keep the lanes from trying, nor the other way round', () => {
  const { machine, fail } = breaker()
  for (const key of ['a', 'b', 'c']) fail(key, { is: 'transient' })
  const failure = { handler: 'h', is: 'transient', errorClass: 'Error', signature: 'Error at x', key: 'a', first: false } as const
  expect([machine.permit(999, 'lanes'), machine.permit(999, 'retriers')]).toEqual([
    { allow: 'none', untilMs: 1_000 },
    { allow: 'none', untilMs: 1_000 },
  ])
  expect(machine.failed(failure, 1_000, 1, 'retriers')).toBe('hold')
  expect(machine.permit(1_000, 'lanes')).toEqual({ allow: 'probe' })
  expect(machine.permit(1_000, 'retriers')).toEqual({ allow: 'none', untilMs: 3_000 })
  // What the lanes have may be of another handler, and succeed for ever.
  machine.succeeded('other')
  expect(machine.permit(3_000, 'retriers')).toEqual({ allow: 'probe' })
  machine.succeeded('h')
  expect(machine.permit(3_000, 'retriers')).toEqual({ allow: 'all' })
})

test('messages that are known to fail never open it, nor does work that was taken away', () => {
  const { machine, fail } = breaker()
  for (let key = 0; key < 200; key++) {
    fail(`k${key}`, { first: false, is: 'transient' })
    fail(`k${key}`, { is: 'fenced' })
  }
  expect(machine.isOpen).toBe(false)
})

test('while it is open nothing runs but a probe now and then, later and later; the first success closes it', () => {
  const { machine, told, fail } = breaker()
  for (const key of ['a', 'b', 'c']) fail(key, { is: 'transient' })
  expect(machine.permit(999)).toEqual({ allow: 'none', untilMs: 1_000 })
  const pauses: number[] = []
  for (let now = 0, probes = 0; probes < 6; probes++) {
    const permit = machine.permit(now)
    expect(permit.allow).toBe('none')
    const until = permit.allow === 'none' ? permit.untilMs : 0
    pauses.push(until - now)
    now = until
    expect(machine.permit(now)).toEqual({ allow: 'probe' })
    expect(fail('a', { is: 'transient', first: false }, now)).toBe('hold')
  }
  expect(pauses).toEqual([1_000, 2_000, 4_000, 8_000, 10_000, 10_000])
  machine.succeeded('h')
  expect(machine.permit(0)).toEqual({ allow: 'all' })
  expect(told).toEqual(['opened by Error', 'h succeeded', 'closed'])
})

test('failures alike that nobody knows for an outage are charged after ten minutes, one probe at a time; the first success closes it, and all begins anew', () => {
  const { machine, told, fail } = breaker()
  const limit = defaultBreakerPolicy.maxAlikeMs
  const open = (at: number): void => void Array.from({ length: 10 }, (_, key) => fail(`k${key}`, {}, at))
  open(5)
  expect(fail('k1', { first: false }, limit + 4)).toBe('hold')
  expect(machine.isOverdue).toBe(false)
  expect(fail('k1', { first: false }, limit + 5)).toBe('charge')
  expect(machine.isOverdue).toBe(true)
  expect(machine.permit(limit + 6)).toEqual({ allow: 'none', untilMs: limit + 5 + 4_000 })
  expect(fail('k2', {}, limit + 4_005)).toBe('charge')
  machine.succeeded('h')
  expect([machine.isOpen, machine.isOverdue]).toEqual([false, false])
  open(2 * limit)
  expect(fail('k1', {}, 2 * limit + 4_000)).toBe('hold')
  expect(told).toEqual(['opened by Error', 'h succeeded', 'closed', 'opened by Error'])
})

test('an outage is never charged, however long it lasts, nor what looks otherwise than what opened it', () => {
  const year = 365 * 86_400_000
  const outage = breaker()
  for (const key of ['a', 'b', 'c']) outage.fail(key, { is: 'transient' })
  for (let n = 1; n < 100; n++) expect(outage.fail('a', { is: 'transient', first: false }, n * year)).toBe('hold')
  expect(outage.fail('a', { first: false }, 100 * year)).toBe('hold')

  const alike = breaker()
  for (let key = 0; key < 10; key++) alike.fail(`k${key}`)
  expect(alike.fail('a', { is: 'transient' }, year)).toBe('hold')
  expect(alike.fail('a', { is: 'incompatible' }, year)).toBe('hold')
  expect(alike.fail('a', { is: 'fenced' }, year)).toBe('hold')
  expect(alike.fail('a', { signature: 'another' }, year)).toBe('hold')
  expect(alike.machine.isOverdue).toBe(false)
})

test('handlers that take too long open it as an outage does, and are charged after ten minutes: nobody knows what they wait for', () => {
  const { machine, fail } = breaker()
  const late = { is: 'transient' as const, errorClass: 'HANDLER_TIMEOUT', signature: 'HANDLER_TIMEOUT' }
  expect([fail('a', late), fail('b', late), fail('c', late)]).toEqual(['charge', 'charge', 'hold'])
  const limit = defaultBreakerPolicy.maxAlikeMs
  expect(fail('c', late, limit - 1)).toBe('hold')
  expect(fail('c', { is: 'transient', errorClass: 'Error ECONNREFUSED', signature: 'another' }, limit)).toBe('hold')
  expect(fail('c', late, limit)).toBe('charge')
  expect(machine.isOpen).toBe(true)
})

test('errors whose places are all different do not fill the memory', () => {
  const { machine, fail } = breaker()
  for (let n = 0; n < 100_000; n++) fail(`k${n}`, { signature: `place ${n}` })
  expect(machine.isOpen).toBe(false)
})
