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
    name: 'a redrive of a letter that was skipped parks its key again, and no batch that does not know of it commits',
    async run(fixture) {
      const owner = await Owner.of(fixture)
      await owner.bury('k', { policy: 'skip' })
      const { id } = await letterAt(fixture, 0)
      assert.deepEqual(outcomes(await fixture.store.redrive([{ id }], { actor })), ['redriven'])
      assert.equal(await owner.take({}), 'moved')
      assert.deepEqual(await owner.reload(), ['k'])
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
    name: 'several letters of a key go together; letters of different keys are refused',
    async run(fixture) {
      const owner = await Owner.of(fixture)
      for (const key of ['k', 'k', 'other']) await owner.bury(key, { policy: 'skip' })
      const [a, b, c] = await Promise.all([0, 1, 2].map((offset) => letterAt(fixture, offset)))
      await assert.rejects(fixture.store.redrive([{ id: a!.id }, { id: c!.id }], { actor }), (error) =>
        TidemarkError.is(error, 'INPUT_INVALID'),
      )
      const unknown = 2 ** 40
      const done = await fixture.store.redrive([{ id: b!.id }, { id: a!.id }, { id: unknown }], { actor })
      assert.deepEqual(outcomes(done), ['redriven', 'redriven', 'unknown'])
      assert.deepEqual(
        (await fixture.waiting(owner.partition)).map(({ offset }) => offset),
        [0, 1],
      )
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
      assert.equal(await owner.take({}), 'committed')
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
