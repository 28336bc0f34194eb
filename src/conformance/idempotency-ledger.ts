/**
 * The promises of the `LedgerStore` port, as cases that any test runner can register; see `exercise`. Each case gets a scope of its own.
 *
 * @module
 */
import assert from 'node:assert/strict'
import type { LedgerClaim, LedgerEntry, LedgerKey, LedgerStore, StoredResponse } from '../inbox/port.ts'
import type { Transaction } from '../message/transaction.ts'
import type { Case } from './case.ts'

export interface LedgerStoreFixture {
  readonly store: LedgerStore
  /** That nobody else uses. */
  readonly scope: string
  /** Runs `work` in a transaction of the same database; what it throws rolls back. */
  transaction(work: (tx: Transaction) => Promise<void>): Promise<void>
}

const minute = 60_000
const claim: LedgerClaim = { fingerprint: null, leaseMs: minute, keepMs: minute }
/** A lease that is over at once. */
const lost: LedgerClaim = { ...claim, leaseMs: 0 }
const answer: StoredResponse = { format: 'json', body: Buffer.from('{"ä":"\\u0000"}') }

function keyOf({ scope }: LedgerStoreFixture, identity = 'https://shop o-1'): LedgerKey {
  return { scope, identity, step: 'charge' }
}

async function begun(fixture: LedgerStoreFixture, how: LedgerClaim = claim): Promise<LedgerEntry> {
  const { entry, isMade } = await fixture.store.begin(keyOf(fixture), how)
  assert.equal(isMade, true)
  return entry
}

async function seen(fixture: LedgerStoreFixture): Promise<LedgerEntry> {
  const { entry, isMade } = await fixture.store.begin(keyOf(fixture), claim)
  assert.equal(isMade, false)
  return entry
}

async function done({ store, scope }: LedgerStoreFixture, token: string, keepMs = minute): Promise<LedgerEntry | null> {
  return store.change({ scope, identity: 'https://shop o-1', step: 'charge' }, token, { to: 'done', response: answer, keepMs })
}

export const ledgerStoreCases: readonly Case<LedgerStoreFixture>[] = [
  {
    name: 'of many that begin the same call at once, one makes the entry, and the others see it',
    async run(fixture) {
      const found = await Promise.all(Array.from({ length: 8 }, () => fixture.store.begin(keyOf(fixture), claim)))
      assert.equal(found.filter(({ isMade }) => isMade).length, 1)
      assert.equal(new Set(found.map(({ entry }) => entry.token)).size, 1)
      for (const { entry } of found) {
        assert.deepEqual([entry.state, entry.attempts, entry.response, entry.isExpired], ['in progress', 1, null, false])
        assert.ok(entry.leaseLeftMs > 0 && entry.leaseLeftMs <= minute)
      }
    },
  },
  {
    name: 'another scope, identity or step is another call',
    async run(fixture) {
      const key = keyOf(fixture)
      for (const other of [key, { ...key, scope: `${key.scope}2` }, { ...key, identity: 'https://shop o-2' }, { ...key, step: 'mail' }])
        assert.equal((await fixture.store.begin(other, claim)).isMade, true)
    },
  },
  {
    name: 'a response is kept to the byte, only the first one is, and nobody takes the call over',
    async run(fixture) {
      const { token } = await begun(fixture)
      const kept = await done(fixture, token)
      assert.deepEqual(kept?.response, answer)
      const change = { to: 'done', response: { format: 'bytes', body: Buffer.from([0, 255]) }, keepMs: minute } as const
      assert.equal(await fixture.store.change(keyOf(fixture), token, change), null)
      assert.equal(await fixture.store.change(keyOf(fixture), token, { to: 'in progress', claim }), null)
      const entry = await seen(fixture)
      assert.deepEqual([entry.state, entry.response?.format], ['done', 'json'])
      assert.equal(Buffer.compare(entry.response!.body, answer.body), 0)
    },
  },
  {
    name: 'an entry that was taken over does not mind its former owner',
    async run(fixture) {
      const { store } = fixture
      const { token } = await begun(fixture, lost)
      const taken = await store.change(keyOf(fixture), token, { to: 'in progress', claim })
      assert.equal(taken?.attempts, 2)
      assert.notEqual(taken.token, token)
      assert.equal(await done(fixture, token), null)
      assert.equal(await store.change(keyOf(fixture), token, { to: 'renewed', leaseMs: 1 }), null)
      assert.equal(await store.change(keyOf(fixture), token, { to: 'unknown' }), null)
      assert.equal(await store.remove(keyOf(fixture), token), false)
      assert.equal((await seen(fixture)).token, taken.token)
    },
  },
  {
    name: 'of many that take over the same entry, one does',
    async run(fixture) {
      const { token } = await begun(fixture, lost)
      const change = { to: 'in progress', claim } as const
      const found = await Promise.all(Array.from({ length: 8 }, () => fixture.store.change(keyOf(fixture), token, change)))
      assert.equal(found.filter((entry) => entry !== null).length, 1)
    },
  },
  {
    name: 'a lease ends by itself, and can be renewed',
    async run(fixture) {
      const { token } = await begun(fixture, lost)
      assert.ok((await seen(fixture)).leaseLeftMs <= 0)
      const renewed = await fixture.store.change(keyOf(fixture), token, { to: 'renewed', leaseMs: minute })
      assert.ok(renewed !== null && renewed.leaseLeftMs > minute / 2)
      assert.equal(renewed.token, token)
    },
  },
  {
    name: 'an unknown outcome is over as a lease, and stays until it is taken over',
    async run(fixture) {
      const { token } = await begun(fixture)
      assert.equal((await fixture.store.change(keyOf(fixture), token, { to: 'unknown' }))?.state, 'unknown')
      const entry = await seen(fixture)
      assert.deepEqual([entry.state, entry.leaseLeftMs <= 0], ['unknown', true])
    },
  },
  {
    name: 'what was removed was never begun; what is done is not removed',
    async run(fixture) {
      const { token } = await begun(fixture)
      assert.equal(await fixture.store.remove(keyOf(fixture), token), true)
      assert.equal(await fixture.store.remove(keyOf(fixture), token), false)
      const again = await begun(fixture)
      assert.notEqual(again.token, token)
      await done(fixture, again.token)
      assert.equal(await fixture.store.remove(keyOf(fixture), again.token), false)
    },
  },
  {
    name: 'a fingerprint is kept with the entry, and is the newer one after a take-over',
    async run(fixture) {
      const { token } = await begun(fixture, { ...lost, fingerprint: 'one' })
      assert.equal((await seen(fixture)).fingerprint, 'one')
      const taken = await fixture.store.change(keyOf(fixture), token, { to: 'in progress', claim: { ...claim, fingerprint: 'two' } })
      assert.equal(taken?.fingerprint, 'two')
    },
  },
  {
    name: 'only expired entries are forgotten, a batch at a time, and never one that somebody works on',
    async run(fixture) {
      const { store } = fixture
      const end = async (identity: string, how: LedgerClaim, keepMs: number | null): Promise<void> => {
        const { entry } = await store.begin(keyOf(fixture, identity), how)
        if (keepMs !== null) await store.change(keyOf(fixture, identity), entry.token, { to: 'done', response: answer, keepMs })
      }
      for (let n = 0; n < 5; n++) await end(`old ${n}`, claim, -1)
      await end('done', claim, minute)
      await end('at work', { ...claim, keepMs: -1 }, null)
      await end('for ever', { ...lost, keepMs: null }, null)
      let forgotten = 0
      for (let some = 3; some === 3; forgotten += some) some = await store.forget(3)
      assert.ok(forgotten >= 5)
      for (const identity of ['done', 'at work', 'for ever'])
        assert.equal((await store.begin(keyOf(fixture, identity), claim)).isMade, false, identity)
      assert.equal((await store.begin(keyOf(fixture, 'old 0'), claim)).isMade, true)
    },
  },
  {
    name: 'an expired response is taken over like a call that nobody made',
    async run(fixture) {
      const { token } = await begun(fixture)
      await done(fixture, token, -1)
      assert.equal((await seen(fixture)).isExpired, true)
      const taken = await fixture.store.change(keyOf(fixture), token, { to: 'in progress', claim })
      assert.deepEqual([taken?.state, taken?.response, taken?.isExpired], ['in progress', null, false])
    },
  },
  {
    name: 'a response that is stored in a transaction is there if, and only if, it commits',
    async run(fixture) {
      const { token } = await begun(fixture)
      const store = (tx: Transaction): Promise<unknown> =>
        fixture.store.change(keyOf(fixture), token, { to: 'done', response: answer, keepMs: minute }, tx)
      const rolledBack = fixture.transaction(async (tx) => {
        await store(tx)
        throw new Error('not this time')
      })
      await assert.rejects(rolledBack, /not this time/)
      assert.equal((await seen(fixture)).state, 'in progress')
      await fixture.transaction(async (tx) => void (await store(tx)))
      assert.deepEqual([(await seen(fixture)).state, (await seen(fixture)).response?.format], ['done', 'json'])
    },
  },
  {
    name: 'of a transaction that stores a response and one who takes the call over meanwhile, one wins',
    async run(fixture) {
      const { store } = fixture
      const { token } = await begun(fixture, lost)
      let takeOver: Promise<LedgerEntry | null> = Promise.resolve(null)
      const storing = fixture.transaction(async (tx) => {
        await store.change(keyOf(fixture), token, { to: 'done', response: answer, keepMs: minute }, tx)
        takeOver = store.change(keyOf(fixture), token, { to: 'in progress', claim })
      })
      const isStored = await storing.then(
        () => true,
        () => false,
      )
      const taken = await takeOver
      assert.equal(isStored, taken === null)
      assert.equal((await seen(fixture)).state, isStored ? 'done' : 'in progress')
    },
  },
  {
    name: 'entries are counted by scope and state; a lease that is over counts as unknown',
    async run(fixture) {
      const { store, scope } = fixture
      await store.begin(keyOf(fixture, 'at work'), claim)
      await store.begin(keyOf(fixture, 'crashed'), lost)
      const { entry } = await store.begin(keyOf(fixture, 'done'), claim)
      await store.change(keyOf(fixture, 'done'), entry.token, { to: 'done', response: answer, keepMs: minute })
      const own = (await store.counts()).filter((count) => count.scope === scope)
      assert.deepEqual(Object.fromEntries(own.map(({ state, entries }) => [state, entries])), { 'in progress': 1, unknown: 1, done: 1 })
    },
  },
]
