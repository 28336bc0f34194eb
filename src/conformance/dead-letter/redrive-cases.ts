import assert from 'node:assert/strict'
import type { RedriveOutcome } from '../../dead-letter/index.ts'
import { TidemarkError } from '../../errors.ts'
import type { Case } from '../case.ts'
import { type DeadLetterStoreFixture, Owner, actor, letterAt, outcomes, record } from './fixture.ts'

export const redriveCases: readonly Case<DeadLetterStoreFixture>[] = [
  {
    name: 'a redriven letter that blocked waits as the head of its key, its successors behind it',
    async run(fixture) {
      const owner = await Owner.of(fixture)
      await owner.bury('k')
      assert.equal(await owner.queue('k'), 'committed')
      const { id, version } = await letterAt(fixture, 0)
      assert.deepEqual(await fixture.store.redrive([{ id, version }], { actor, reason: 'mended' }), [
        { id, outcome: 'redriven', version: version + 1 },
      ])
      assert.deepEqual(
        (await fixture.waiting(owner.partition)).map(({ offset, dead }) => [offset, dead]),
        [
          [0, false],
          [1, false],
        ],
      )
      const after = (await fixture.store.get(id))!
      assert.deepEqual([after.state, after.redrives, after.version], ['redriven', 1, version + 1])
      assert.deepEqual(
        after.history.map(({ action, text, actor: by }) => [action, text, by]),
        [['redriven', 'mended', actor]],
      )
    },
  },
  {
    name: 'a redrive of a letter that was skipped parks its key again, and no batch that ran a later message of the key commits',
    async run(fixture) {
      const owner = await Owner.of(fixture)
      await owner.bury('k', { policy: 'skip' })
      const { id } = await letterAt(fixture, 0)
      assert.deepEqual(outcomes(await fixture.store.redrive([{ id }], { actor })), ['redriven'])
      assert.equal(await owner.run('other', 'k'), 'moved')
      assert.deepEqual(await owner.catchUp(), { held: ['k'], released: [] })
      assert.equal(await owner.queue('k'), 'committed')
      assert.deepEqual(
        (await fixture.waiting(owner.partition)).map(({ offset }) => offset),
        [0, 1],
      )
    },
  },
  {
    name: 'a letter without a key is redriven under a key of its own',
    async run(fixture) {
      const owner = await Owner.of(fixture)
      await owner.bury(null)
      await owner.bury(null)
      const ids = [(await letterAt(fixture, 0)).id, (await letterAt(fixture, 1)).id]
      for (const id of ids) assert.deepEqual(outcomes(await fixture.store.redrive([{ id }], { actor })), ['redriven'])
      assert.equal((await owner.reload()).length, 2)
      assert.equal((await fixture.waiting(owner.partition)).length, 2)
    },
  },
  {
    name: 'a batch that ran none of the keys that were held meanwhile commits, and is told of them',
    async run(fixture) {
      const owner = await Owner.of(fixture)
      for (const key of ['a', 'b', 'c']) await owner.bury(key, { policy: 'skip' })
      const [a, b, c] = await Promise.all([0, 1, 2].map((offset) => letterAt(fixture, offset)))
      await fixture.store.redrive([{ id: a!.id }, { id: b!.id }], { actor })
      await fixture.store.redrive([{ id: c!.id }], { actor })
      assert.equal(await owner.run('other'), 'committed')
      assert.deepEqual([...owner.held].sort(), ['a', 'b', 'c'])
      // It knows of them now: they may run no more, and nothing is told twice.
      assert.equal(await owner.run('other'), 'committed')
      assert.deepEqual(owner.held, [])
      assert.equal(await owner.queue('a'), 'committed')
      assert.deepEqual(await owner.catchUp(['a', 'gone']), { held: [], released: ['gone'] })
    },
  },
  {
    name: 'a batch under way with a later message of a key does not commit, even if what was redriven is handled by then',
    async run(fixture) {
      const owner = await Owner.of(fixture)
      await owner.bury('k', { policy: 'skip' })
      const { id } = await letterAt(fixture, 0)
      await fixture.store.redrive([{ id }], { actor })
      const { group, topicId } = owner.partition
      const request = {
        group,
        topicIds: [topicId],
        keys: 1,
        beyond: { keys: 1, bytes: 0 },
        suspects: 10,
        leaseMs: 60_000,
        maxMessages: 1,
        maxBytes: 1_000,
      }
      const [key] = await fixture.consumer.parked.lease(request)
      const retry = await fixture.consumer.parked.begin([key!])
      assert.deepEqual(await retry.commit({ done: [1], handled: [], publish: [] }), { outcome: 'committed' })
      assert.equal(await owner.run('k'), 'moved')
      assert.deepEqual(await owner.catchUp(['k']), { held: ['k'], released: ['k'] })
      assert.equal(await owner.run('k'), 'committed')
    },
  },
  {
    name: 'what was held before a take-over is nothing that the new owner could be told: it has read it',
    async run(fixture) {
      const owner = await Owner.of(fixture)
      await owner.bury('k', { policy: 'skip' })
      const { id } = await letterAt(fixture, 0)
      await fixture.store.redrive([{ id }], { actor })
      const next = await Owner.of(fixture)
      assert.equal(await next.run('other'), 'committed')
      assert.deepEqual(next.held, [])
      assert.equal(await owner.run('other'), 'moved')
      assert.equal(await owner.catchUp(), null)
    },
  },
  {
    name: 'letters of several keys of a partition go together, and where one is refused the others go; those of two partitions are refused',
    async run(fixture) {
      const [owner, other] = [await Owner.of(fixture), await Owner.of(fixture, 'others')]
      for (const key of ['k', 'k', 'l', null]) await owner.bury(key, { policy: 'skip' })
      const [a, b, c, d] = await Promise.all([0, 1, 2, 3].map((offset) => letterAt(fixture, offset)))
      await other.bury('k')
      const { letters } = await fixture.store.list({ groups: [fixture.group], topics: ['others'] })
      await assert.rejects(fixture.store.redrive([{ id: a!.id }, { id: letters[0]!.id }], { actor }), (error) =>
        TidemarkError.is(error, 'INPUT_INVALID'),
      )
      const unknown = 2 ** 40
      const asked = [{ id: b!.id }, { id: c!.id, version: c!.version + 1 }, { id: a!.id }, { id: unknown }, { id: d!.id }]
      const done = await fixture.store.redrive(asked, { actor })
      assert.deepEqual(outcomes(done), ['redriven', 'changed', 'redriven', 'unknown', 'redriven'])
      assert.deepEqual(
        (await fixture.waiting(owner.partition)).map(({ offset }) => offset),
        [0, 1, 3],
      )
      assert.equal((await owner.reload()).length, 2)
      assert.equal((await letterAt(fixture, 2)).state, 'dead')
    },
  },
  {
    name: 'a letter that is asked for twice goes once',
    async run(fixture) {
      const owner = await Owner.of(fixture)
      await owner.bury('k', { policy: 'skip' })
      const { id, version } = await letterAt(fixture, 0)
      assert.deepEqual(outcomes(await fixture.store.redrive([{ id }, { id }], { actor })), ['redriven', 'not-dead'])
      const after = (await fixture.store.get(id))!
      assert.deepEqual([after.version, after.redrives, after.history.length], [version + 1, 1, 1])
      assert.equal((await fixture.waiting(owner.partition)).length, 1)
    },
  },
  {
    name: 'letters of one key in two topics are two orders: each is redriven in its own',
    async run(fixture) {
      const [one, other] = [await Owner.of(fixture), await Owner.of(fixture, 'others')]
      await one.bury('k')
      await other.bury('k')
      const { letters } = await fixture.store.list({ groups: [fixture.group], topics: ['others'] })
      assert.deepEqual(outcomes(await fixture.store.redrive([{ id: letters[0]!.id }], { actor })), ['redriven'])
      assert.deepEqual(
        (await fixture.waiting(other.partition)).map(({ dead }) => dead),
        [false],
      )
      assert.deepEqual(
        (await fixture.waiting(one.partition)).map(({ dead }) => dead),
        [true],
      )
      const orders: string[] = []
      for await (const page of fixture.store.select({ groups: [fixture.group], states: ['dead', 'redriven'] }))
        orders.push(...page.map(({ order }) => order))
      assert.equal(new Set(orders).size, 2)
    },
  },
  {
    name: 'of two redrives at once one does it; the other is told that the letter is not dead any more',
    async run(fixture) {
      const owner = await Owner.of(fixture)
      await owner.bury('k')
      const { id } = await letterAt(fixture, 0)
      const both = await Promise.all([1, 2].map(() => fixture.store.redrive([{ id }], { actor })))
      assert.deepEqual(both.map((one) => outcomes(one)[0]).sort(), ['not-dead', 'redriven'])
      assert.equal((await fixture.waiting(owner.partition)).length, 1)
      assert.equal((await letterAt(fixture, 0)).redrives, 1)
    },
  },
  {
    name: 'of a redrive and a discard at once one does it',
    async run(fixture) {
      const owner = await Owner.of(fixture)
      await owner.bury('k')
      const { id } = await letterAt(fixture, 0)
      const [redrive, discard] = await Promise.allSettled([
        fixture.store.redrive([{ id }], { actor }),
        fixture.store.change(id, { kind: 'discard' }, { actor }),
      ])
      assert.equal(redrive.status, 'fulfilled')
      const redriven = outcomes((redrive as PromiseFulfilledResult<readonly RedriveOutcome[]>).value)[0] === 'redriven'
      assert.equal(discard.status, redriven ? 'rejected' : 'fulfilled')
      assert.equal((await letterAt(fixture, 0)).state, redriven ? 'redriven' : 'discarded')
      assert.equal((await fixture.waiting(owner.partition)).length, redriven ? 1 : 0)
      assert.deepEqual(await owner.reload(), redriven ? ['k'] : [])
    },
  },
  {
    name: 'a redrive is refused for a version that is not the one seen, and leaves nothing',
    async run(fixture) {
      const owner = await Owner.of(fixture)
      await owner.bury('k', { policy: 'skip' })
      const { id, version } = await letterAt(fixture, 0)
      await fixture.store.change(id, { kind: 'assign', assignee: 'ada' }, { actor, version })
      assert.deepEqual(outcomes(await fixture.store.redrive([{ id, version }], { actor })), ['changed'])
      // Not even the count of holds was raised: the owner goes on.
      assert.equal(await owner.run('k'), 'committed')
      assert.deepEqual(await owner.reload(), [])
    },
  },
  {
    name: 'a letter that comes again from the log anyway is not redriven',
    async run(fixture) {
      const owner = await Owner.of(fixture)
      await owner.bury('k', { record: record(7, 'k') })
      const { id } = await letterAt(fixture, 7)
      assert.deepEqual(outcomes(await fixture.store.redrive([{ id }], { actor })), ['comes-again'])
    },
  },
]
