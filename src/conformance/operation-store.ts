/**
 * The promises of the `OperationStore` port, as cases that any test runner can register; see `exercise`.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { uuidv7 } from '../internal/uuid.ts'
import type { Transaction } from '../message/transaction.ts'
import type { AuditEntry } from '../operation/audit.ts'
import { type FrozenItem, type ItemOutcome, type ItemResult, defaultSettings } from '../operation/operation.ts'
import type { OperationLease, OperationStore } from '../operation/port.ts'
import type { Case } from './case.ts'

export interface OperationStoreFixture {
  readonly store: OperationStore
  /** A kind of operation that no other case has. */
  readonly kind: string
  /** Makes an effect through the transaction of a step. */
  effect(tx: Transaction, name: string): Promise<void>
  /** Those that were committed, sorted. */
  effects(): Promise<readonly string[]>
}

const ada = { id: 'ada', roles: ['operator'] }
const leaseMs = 60_000

function line(verb: string, id: string): AuditEntry {
  return {
    actor: ada,
    verb,
    target: { type: 'operation', id },
    reason: 'a case',
    origin: 'api',
    host: 'here',
    outcome: 'done',
    details: { count: 2 },
  }
}

async function plan({ store, kind }: OperationStoreFixture): Promise<string> {
  const id = uuidv7()
  const planned = { count: 3, summary: { oldest: null } }
  const operation = { id, kind, params: { topic: 'order' }, settings: defaultSettings, planned, actor: ada, reason: 'a case' }
  await store.create(operation, line('operation.plan', id))
  return id
}

async function claim({ store, kind }: OperationStoreFixture, runner: string, ms = leaseMs): Promise<OperationLease> {
  const lease = await store.claim({ runner, kinds: [kind], leaseMs: ms })
  assert.ok(lease !== null, 'nothing was claimed')
  return lease
}

const item = (n: number, group: string | null = null): FrozenItem => ({ group, data: { n } })

/** An operation with items, running. */
async function running(fixture: OperationStoreFixture, items: readonly FrozenItem[], ms = leaseMs): Promise<OperationLease> {
  const id = await plan(fixture)
  assert.ok(await fixture.store.change(id, 'confirm', line('operation.confirm', id)))
  const lease = await claim(fixture, 'a', ms)
  assert.equal(await lease.freeze(items), true)
  assert.equal(await lease.frozen(), items.length)
  return lease
}

function results(from: number, ...outcomes: readonly ItemOutcome[]): readonly ItemResult[] {
  return outcomes.map((outcome, i) => ({ place: from + i, outcome, reason: outcome === 'failed' ? 'why' : null }))
}

async function expired({ store, kind }: OperationStoreFixture, runner: string): Promise<OperationLease> {
  const deadline = Date.now() + 10_000
  for (;;) {
    const lease = await store.claim({ runner, kinds: [kind], leaseMs })
    if (lease !== null) return lease
    assert.ok(Date.now() < deadline, 'the lease never ran out')
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

export const operationStoreCases: readonly Case<OperationStoreFixture>[] = [
  {
    name: 'a planned operation is kept as it was planned, and nobody works on it',
    async run(fixture) {
      const { store, kind } = fixture
      const id = await plan(fixture)
      const operation = await store.get(id)
      assert.deepEqual(
        { ...operation, createdAt: 0, changedAt: 0 },
        {
          id,
          kind,
          params: { topic: 'order' },
          settings: defaultSettings,
          planned: { count: 3, summary: { oldest: null } },
          state: 'planned',
          frozen: false,
          total: 0,
          next: 0,
          counts: { done: 0, failed: 0, skipped: 0, started: 0 },
          base: { tried: 0, failed: 0 },
          actor: ada,
          reason: 'a case',
          error: null,
          runner: null,
          createdAt: 0,
          changedAt: 0,
          startedAt: null,
          endedAt: null,
        },
      )
      assert.equal(await store.claim({ runner: 'a', kinds: [kind], leaseMs }), null)
      assert.equal(await store.get(uuidv7()), null)
      assert.equal(await store.get('nonsense'), null)
    },
  },
  {
    name: 'lists come newest first, by state and kind',
    async run(fixture) {
      const { store, kind } = fixture
      const [first, second] = [await plan(fixture), await plan(fixture)]
      await store.change(first, 'cancel', line('operation.cancel', first))
      const ids = async (states?: ['planned']): Promise<readonly string[]> =>
        (await store.list({ kinds: [kind], ...(states === undefined ? {} : { states }) })).map(({ id }) => id)
      assert.deepEqual(await ids(), [second, first])
      assert.deepEqual(await ids(['planned']), [second])
      assert.deepEqual(await store.list({ kinds: [] }), [])
      assert.equal((await store.list({ kinds: [kind], limit: 1 })).length, 1)
    },
  },
  {
    name: 'only one runner claims an operation, and only of the kinds it knows',
    async run(fixture) {
      const { store, kind } = fixture
      const id = await plan(fixture)
      await store.change(id, 'confirm', line('operation.confirm', id))
      assert.equal(await store.claim({ runner: 'a', kinds: ['other'], leaseMs }), null)
      assert.equal(await store.claim({ runner: 'a', kinds: [kind], id: uuidv7(), leaseMs }), null)
      assert.equal(await store.claim({ runner: 'a', kinds: [kind], except: [id], leaseMs }), null)
      const claims = await Promise.all(['a', 'b', 'c'].map((runner) => store.claim({ runner, kinds: [kind], leaseMs })))
      assert.equal(claims.filter((one) => one !== null).length, 1)
    },
  },
  {
    name: 'a runner that comes back takes its own operation at once, with a new token; the old one commits nothing',
    async run(fixture) {
      const first = await running(fixture, [item(0)])
      const second = await claim(fixture, 'a')
      assert.ok(second.token > first.token)
      assert.equal(await first.renew(), false)
      assert.equal(await second.renew(), true)
    },
  },
  {
    name: 'items keep their order and get places without gaps, over several pages',
    async run(fixture) {
      const lease = await running(fixture, [item(0), item(1), item(2)])
      const items = await fixture.store.items(lease.operation.id, {})
      assert.deepEqual(
        items.map(({ place, data, outcome }) => [place, data['n'], outcome]),
        [0, 1, 2].map((n) => [n, n, null]),
      )
    },
  },
  {
    name: 'a set that was half frozen is begun anew',
    async run(fixture) {
      const id = await plan(fixture)
      await fixture.store.change(id, 'confirm', line('operation.confirm', id))
      const first = await claim(fixture, 'a')
      await first.freeze([item(7), item(8)])
      const second = await claim(fixture, 'a')
      assert.equal(await first.freeze([item(9)]), false)
      assert.equal(await second.clear(), true)
      await second.freeze([item(0)])
      await second.freeze([])
      await second.freeze([item(1)])
      assert.equal(await second.frozen(), 2)
      assert.equal(await second.clear(), false)
      assert.deepEqual(
        (await fixture.store.items(id, {})).map(({ data }) => data['n']),
        [0, 1],
      )
    },
  },
  {
    name: 'a step takes the rest of the last group along',
    async run(fixture) {
      const lease = await running(fixture, [item(0), item(1, 'x'), item(2, 'x'), item(3, 'x'), item(4, 'y'), item(5), item(6)])
      const places = async (next: number, limit: number): Promise<readonly number[]> =>
        (await lease.pending(next, limit)).map(({ place }) => place)
      assert.deepEqual(await places(0, 1), [0])
      assert.deepEqual(await places(0, 2), [0, 1, 2, 3])
      assert.deepEqual(await places(1, 1), [1, 2, 3])
      assert.deepEqual(await places(4, 2), [4, 5])
      assert.deepEqual(await places(6, 5), [6])
      assert.deepEqual(await places(7, 5), [])
    },
  },
  {
    name: 'a step takes at most 1,000 items of a group, and more where more are asked for',
    async run(fixture) {
      const lease = await running(
        fixture,
        Array.from({ length: 1_200 }, (_, n) => item(n, 'x')),
      )
      assert.equal((await lease.pending(0, 1)).length, 1_000)
      assert.deepEqual(
        (await lease.pending(1_000, 1)).map(({ place }) => place),
        Array.from({ length: 200 }, (_, n) => 1_000 + n),
      )
      assert.equal((await lease.pending(0, 1_100)).length, 1_100)
    },
  },
  {
    name: 'the effects of a step and its results commit together',
    async run(fixture) {
      const lease = await running(fixture, [item(0), item(1), item(2)])
      const outcome = await lease.step(0, async (tx) => {
        await fixture.effect(tx, 'first')
        return results(0, 'done', 'failed')
      })
      assert.equal(outcome, 'committed')
      assert.deepEqual(await fixture.effects(), ['first'])
      const { id } = lease.operation
      const { next, counts } = (await fixture.store.get(id))!
      assert.deepEqual([next, counts], [2, { done: 1, failed: 1, skipped: 0, started: 0 }])
      assert.deepEqual(
        (await fixture.store.items(id, {})).map(({ outcome: how, reason }) => [how, reason]),
        [
          ['done', null],
          ['failed', 'why'],
          [null, null],
        ],
      )
      assert.equal((await fixture.store.items(id, { outcomes: ['failed'] }))[0]!.place, 1)
    },
  },
  {
    name: 'what a step throws leaves neither effect nor result',
    async run(fixture) {
      const lease = await running(fixture, [item(0)])
      const failing = lease.step(0, async (tx) => {
        await fixture.effect(tx, 'undone')
        throw new RangeError('on purpose')
      })
      await assert.rejects(failing, RangeError)
      assert.deepEqual(await fixture.effects(), [])
      assert.equal((await fixture.store.get(lease.operation.id))!.next, 0)
      assert.equal(await lease.step(0, async () => results(0, 'done')), 'committed')
    },
  },
  {
    name: 'a step from a place that is done already is fenced',
    async run(fixture) {
      const lease = await running(fixture, [item(0), item(1)])
      assert.equal(await lease.step(0, async () => results(0, 'done')), 'committed')
      assert.equal(await lease.step(0, async () => results(0, 'done')), 'fenced')
    },
  },
  {
    name: 'a runner whose lease ran out is fenced from the moment another one takes over, in the middle of a step, too',
    async run(fixture) {
      const first = await running(fixture, [item(0)], 20)
      let second: OperationLease | null = null
      const late = first.step(0, async (tx) => {
        await fixture.effect(tx, 'late')
        second = await expired(fixture, 'b')
        return results(0, 'done')
      })
      // A server may have ended it, for standing still.
      assert.equal(await late.catch(() => 'fenced'), 'fenced')
      assert.deepEqual(await fixture.effects(), [])
      assert.equal(await first.renew(), false)
      assert.equal(await first.settle(results(0, 'done')), 'fenced')
      assert.equal(await first.end('done', null, line('operation.end', first.operation.id)), false)
      await first.release()
      assert.equal(await second!.step(0, async () => results(0, 'done')), 'committed')
    },
  },
  {
    name: 'a lease that ran out but was taken by nobody still counts',
    async run(fixture) {
      const lease = await running(fixture, [item(0)], 20)
      await new Promise((resolve) => setTimeout(resolve, 40))
      assert.equal(await lease.step(0, async () => results(0, 'done')), 'committed')
    },
  },
  {
    name: 'a paused operation commits nothing more, is claimed by nobody, and goes on where it was',
    async run(fixture) {
      const { store, kind } = fixture
      const lease = await running(fixture, [item(0), item(1)])
      const { id } = lease.operation
      await lease.step(0, async () => results(0, 'failed'))
      const outcome = await lease.step(1, async (tx) => {
        await fixture.effect(tx, 'late')
        assert.equal((await store.change(id, 'pause', line('operation.pause', id)))!.state, 'paused')
        return results(1, 'done')
      })
      assert.equal(outcome, 'fenced')
      assert.deepEqual(await fixture.effects(), [])
      assert.equal(await store.claim({ runner: 'a', kinds: [kind], leaseMs }), null)
      assert.equal(await store.change(id, 'pause', line('operation.pause', id)), null)
      const resumed = await store.change(id, 'resume', line('operation.resume', id))
      assert.deepEqual([resumed!.state, resumed!.base], ['running', { tried: 1, failed: 1 }])
      const again = await claim(fixture, 'b')
      assert.equal(again.operation.next, 1)
    },
  },
  {
    name: 'paused while it freezes, it freezes after the resume',
    async run(fixture) {
      const { store } = fixture
      const id = await plan(fixture)
      await store.change(id, 'confirm', line('operation.confirm', id))
      await store.change(id, 'pause', line('operation.pause', id))
      assert.equal((await store.change(id, 'resume', line('operation.resume', id)))!.state, 'freezing')
    },
  },
  {
    name: 'cancelled is for good',
    async run(fixture) {
      const { store } = fixture
      const lease = await running(fixture, [item(0)])
      const { id } = lease.operation
      assert.equal((await store.change(id, 'cancel', line('operation.cancel', id)))!.state, 'cancelled')
      assert.equal(await lease.step(0, async () => results(0, 'done')), 'fenced')
      for (const wish of ['confirm', 'pause', 'resume', 'cancel'] as const) {
        assert.equal(await store.change(id, wish, line(`operation.${wish}`, id)), null)
      }
      assert.ok((await store.get(id))!.endedAt instanceof Date)
    },
  },
  {
    name: 'one that failed can be resumed, one that is done cannot',
    async run(fixture) {
      const { store } = fixture
      const lease = await running(fixture, [item(0)])
      const { id } = lease.operation
      assert.equal(await lease.end('failed', 'too many', line('operation.end', id)), true)
      assert.equal((await store.get(id))!.error, 'too many')
      assert.equal((await store.change(id, 'resume', line('operation.resume', id)))!.error, null)
      const again = await claim(fixture, 'a')
      assert.equal(await again.end('done', null, line('operation.end', id)), true)
      assert.equal(await store.change(id, 'resume', line('operation.resume', id)), null)
    },
  },
  {
    name: 'items that were set going are settled once',
    async run(fixture) {
      const lease = await running(fixture, [item(0), item(1), item(2)])
      await lease.step(0, async () => results(0, 'started', 'done', 'started'))
      const places = async (after: number): Promise<readonly number[]> => (await lease.started(after, 10)).map(({ place }) => place)
      assert.deepEqual(await places(-1), [0, 2])
      assert.deepEqual(await places(0), [2])
      assert.deepEqual(await lease.settle([...results(0, 'failed'), ...results(1, 'failed')]), { done: 0, failed: 1, skipped: 0 })
      assert.deepEqual(await lease.settle(results(0, 'done')), { done: 0, failed: 0, skipped: 0 })
      assert.deepEqual(await places(-1), [2])
      assert.deepEqual((await fixture.store.get(lease.operation.id))!.counts, { done: 1, failed: 1, skipped: 0, started: 1 })
    },
  },
  {
    name: 'one that was given back is taken by another runner at once',
    async run(fixture) {
      const lease = await running(fixture, [item(0)])
      await lease.release()
      assert.equal((await fixture.store.get(lease.operation.id))!.runner, null)
      assert.ok((await claim(fixture, 'b')).token > lease.token)
    },
  },
  {
    name: 'what ended long ago is forgotten with its items, what has not ended is kept',
    async run(fixture) {
      const { store } = fixture
      const lease = await running(fixture, [item(0), item(1)])
      const { id } = lease.operation
      while (await store.forget(0));
      assert.equal((await store.items(id, {})).length, 2)
      await lease.end('done', null, line('operation.end', id))
      while (await store.forget(60_000));
      assert.equal((await store.get(id))!.state, 'done')
      await new Promise((resolve) => setTimeout(resolve, 5))
      while (await store.forget(0));
      assert.deepEqual([await store.get(id), await store.items(id, {})], [null, []])
      assert.ok((await store.listAudit({ target: { type: 'operation', id } })).length > 0)
    },
  },
  {
    name: 'every change leaves its line in the audit log, and one that was not made leaves none',
    async run(fixture) {
      const { store } = fixture
      const id = await plan(fixture)
      await store.change(id, 'resume', line('operation.resume', id))
      await store.change(id, 'confirm', line('operation.confirm', id))
      const lease = await claim(fixture, 'a')
      await lease.frozen()
      await lease.end('done', null, line('operation.end', id))
      const lines = await store.listAudit({ target: { type: 'operation', id } })
      assert.deepEqual(
        lines.map(({ verb }) => verb),
        ['operation.end', 'operation.confirm', 'operation.plan'],
      )
      const { id: number, at, ...entry } = lines[2]!
      assert.ok(number < lines[0]!.id && at instanceof Date)
      assert.deepEqual(entry, line('operation.plan', id))
    },
  },
  {
    name: 'the audit log is listed by actor, verb, outcome and target, page by page',
    async run({ store, kind }) {
      const target = { type: kind, id: '1' }
      for (const outcome of ['done', 'refused', 'failed'] as const) {
        await store.record({ ...line(`${kind}.view`, '1'), target, outcome, actor: { id: `${kind} ${outcome}`, roles: [] } })
      }
      const outcomes = async (filter: Parameters<OperationStore['listAudit']>[0]): Promise<readonly string[]> =>
        (await store.listAudit(filter)).map(({ outcome }) => outcome)
      assert.deepEqual(await outcomes({ target: { type: kind } }), ['failed', 'refused', 'done'])
      assert.deepEqual(await outcomes({ target: { type: kind, id: '2' } }), [])
      assert.deepEqual(await outcomes({ verb: `${kind}.view`, outcome: 'refused' }), ['refused'])
      assert.deepEqual(await outcomes({ actor: `${kind} done` }), ['done'])
      const all = await store.listAudit({ target: { type: kind } })
      const [last, middle] = [all[0]!.at, all[1]!.at]
      const since = all.filter(({ at }) => at >= middle).map(({ outcome }) => outcome)
      assert.deepEqual(await outcomes({ target: { type: kind }, from: middle }), since)
      assert.deepEqual(await outcomes({ target: { type: kind }, from: new Date(last.getTime() + 60_000) }), [])
      assert.deepEqual(await outcomes({ target: { type: kind }, to: all[2]!.at }), [])
      const [newest] = await store.listAudit({ target: { type: kind }, limit: 1 })
      assert.deepEqual(await outcomes({ target: { type: kind }, before: newest!.id }), ['refused', 'done'])
    },
  },
]
