import assert from 'node:assert/strict'
import type { GroupKey, HeldKey, LeasedKey } from '../../consumer/index.ts'
import type { Case } from '../case.ts'
import { type DeadLetterStoreFixture, Owner, actor, auditLine, letterAt } from './fixture.ts'

const change = { by: actor, reason: 'two customers are merged', audit: [] }

/** Keys that operators hold. */
export const holdCases: readonly Case<DeadLetterStoreFixture>[] = [
  {
    name: 'a batch under way that ran a message of a key that is held meanwhile does not commit; those that ran others do, and are told',
    async run(fixture) {
      const owner = await Owner.of(fixture)
      await fixture.holds.hold(keyOf(fixture), change)
      assert.equal(await owner.run('other', 'k'), 'moved')
      assert.equal(await owner.run('other'), 'committed')
      assert.deepEqual(owner.held, ['k'])
      assert.equal(await owner.queue('k'), 'committed')
      assert.deepEqual(await leases(fixture), [])
      assert.equal(await fixture.consumer.parked.waiting(fixture.group), 0)
    },
  },
  {
    name: 'what has waited behind a held key is due at its release, in order',
    async run(fixture) {
      const owner = await Owner.of(fixture)
      await fixture.holds.hold(keyOf(fixture), change)
      assert.deepEqual(await owner.reload(), ['k'])
      for (let n = 0; n < 3; n++) assert.equal(await owner.queue('k'), 'committed')
      assert.deepEqual(await leases(fixture), [])
      assert.equal(await fixture.holds.release(keyOf(fixture), change), true)
      assert.equal(await fixture.consumer.parked.waiting(fixture.group), 3)
      const [leased] = await leases(fixture)
      assert.deepEqual(
        leased!.messages.map(({ record }) => record.offset),
        [0, 1, 2],
      )
      assert.deepEqual(await commit(fixture, leased!), { outcome: 'committed' })
    },
  },
  {
    name: 'the release of a key that nothing waits behind is found out by its owner, whose next message runs',
    async run(fixture) {
      const owner = await Owner.of(fixture)
      await fixture.holds.hold(keyOf(fixture), change)
      assert.deepEqual(await owner.reload(), ['k'])
      assert.equal(await fixture.holds.release(keyOf(fixture), change), true)
      assert.equal(await owner.queue('k'), 'released')
      assert.equal(await owner.run('k'), 'committed')
      assert.deepEqual(await owner.reload(), [])
      assert.equal(await fixture.holds.release(keyOf(fixture), change), false)
    },
  },
  {
    name: 'a key that waits already may be held: whoever is at its head does not commit, and nobody is charged',
    async run(fixture) {
      const owner = await Owner.of(fixture)
      await owner.bury('k', { policy: 'skip' })
      await fixture.store.redrive([{ id: (await letterAt(fixture, 0)).id }], { actor })
      const [leased] = await leases(fixture)
      await fixture.holds.hold(keyOf(fixture), change)
      assert.deepEqual(await commit(fixture, leased!), { outcome: 'moved' })
      const failure = { do: 'park', charged: 1, attempts: [], reason: 'no', afterMs: 0 } as const
      assert.equal(await fixture.consumer.parked.failed(leased!, failure), false)
      await fixture.consumer.parked.giveBack([leased!], 'tried', 0)
      assert.deepEqual(await leases(fixture), [])
      assert.equal((await fixture.waiting(owner.partition)).length, 1)
      await fixture.holds.release(keyOf(fixture), change)
      const [again] = await leases(fixture)
      assert.deepEqual([again!.attempts, again!.crashes], [0, 0])
      assert.deepEqual(await commit(fixture, again!), { outcome: 'committed' })
    },
  },
  {
    name: 'a key with a dead head may be held: its redrive waits for the release',
    async run(fixture) {
      const owner = await Owner.of(fixture)
      await owner.bury('k')
      await owner.queue('k')
      await fixture.holds.hold(keyOf(fixture), change)
      assert.equal((await listed(fixture))[0]!.messages, 2)
      await fixture.store.redrive([{ id: (await letterAt(fixture, 0)).id }], { actor })
      assert.deepEqual(await leases(fixture), [])
      await fixture.holds.release(keyOf(fixture), change)
      assert.equal((await leases(fixture))[0]!.messages.length, 2)
    },
  },
  {
    name: 'a dead head blocks its key after the release, too',
    async run(fixture) {
      const owner = await Owner.of(fixture)
      await owner.bury('k')
      await owner.queue('k')
      await fixture.holds.hold(keyOf(fixture), change)
      assert.equal(await fixture.holds.release(keyOf(fixture), change), true)
      assert.deepEqual(await leases(fixture), [])
      assert.deepEqual(await owner.reload(), ['k'])
      await fixture.store.change((await letterAt(fixture, 0)).id, { kind: 'discard' }, { actor })
      assert.equal((await leases(fixture))[0]!.messages[0]!.record.offset, 1)
    },
  },
  {
    name: 'a held key whose last message is discarded stays held',
    async run(fixture) {
      const owner = await Owner.of(fixture)
      await owner.bury('k')
      await fixture.holds.hold(keyOf(fixture), change)
      await fixture.store.change((await letterAt(fixture, 0)).id, { kind: 'discard' }, { actor })
      assert.deepEqual(await owner.reload(), ['k'])
      assert.equal(await owner.queue('k'), 'committed')
      assert.deepEqual(await leases(fixture), [])
      await fixture.holds.release(keyOf(fixture), change)
      assert.equal((await leases(fixture))[0]!.messages[0]!.record.offset, 1)
    },
  },
  {
    name: 'a key is held in every partition of its topic and in no other topic or group, and counts as one; it is not split by that',
    async run(fixture) {
      const { group, consumer, holds } = fixture
      await Owner.of(fixture, 'others')
      const topic = { group, topic: 'things', topicId: 'id of things' }
      await consumer.makePositions({ topic, lanes: 2, first: [0, 0, 0], later: [0, 0, 0] })
      const held = await holds.hold(keyOf(fixture), change)
      const expected = {
        group,
        topic: 'things',
        key: Buffer.from('k'),
        partitions: [0, 1, 2],
        by: actor,
        reason: change.reason,
        messages: 0,
      }
      assert.deepEqual({ ...held, since: null }, { ...expected, since: null })
      assert.deepEqual(await listed(fixture), [held])
      assert.equal((await holds.held()).filter((one) => one.group === group).length, 1)
      assert.deepEqual(await consumer.parked.splitKeys(group), [])
      const other = await consumer.takeOver({
        partition: { group, topic: 'others', topicId: 'id of others', partition: 0 },
        lockTimeoutMs: 1_000,
      })
      assert.deepEqual(other.parkedKeys, [])
      await holds.release(keyOf(fixture), change)
      assert.deepEqual(await listed(fixture), [])
    },
  },
  {
    name: 'a hold that is there stays whose it is; partitions that came since are added',
    async run(fixture) {
      const { group, consumer, holds } = fixture
      await Owner.of(fixture)
      const first = await holds.hold(keyOf(fixture), change)
      await consumer.makePositions({ topic: { group, topic: 'things', topicId: 'id of things' }, lanes: 1, first: [0, 0], later: [0, 0] })
      const second = await holds.hold(keyOf(fixture), { by: 'somebody else', reason: 'other', audit: [] })
      assert.deepEqual(second, { ...first, partitions: [0, 1] })
    },
  },
  {
    name: 'the lines of a hold and of a release are stored with them, and none where nothing was done',
    async run(fixture) {
      const { group, holds, audit } = fixture
      const lines = (verb: string) => ({ ...change, audit: [auditLine(group, verb)] })
      assert.equal(await holds.hold(keyOf(fixture), lines('key.hold')), null)
      await Owner.of(fixture)
      assert.equal(await holds.release(keyOf(fixture), lines('key.release')), false)
      const noted = async () => (await audit.listAudit({ target: { type: group } })).map(({ verb }) => verb)
      assert.deepEqual(await noted(), [])
      await holds.hold(keyOf(fixture), lines('key.hold'))
      await holds.release(keyOf(fixture), lines('key.release'))
      assert.deepEqual(await noted(), ['key.release', 'key.hold'])
    },
  },
]

function keyOf({ group }: DeadLetterStoreFixture): GroupKey {
  return { group, topic: 'things', key: Buffer.from('k') }
}

function listed({ holds, group }: DeadLetterStoreFixture): Promise<readonly HeldKey[]> {
  return holds.held(group)
}

function leases({ consumer, group }: DeadLetterStoreFixture): Promise<readonly LeasedKey[]> {
  const limits = { keys: 10, beyond: { keys: 10, bytes: 0 }, suspects: 10, leaseMs: 60_000, maxMessages: 10, maxBytes: 1_000_000 }
  return consumer.parked.lease({ group, topicIds: ['id of things'], ...limits })
}

async function commit({ consumer }: DeadLetterStoreFixture, key: LeasedKey): Promise<unknown> {
  const transaction = await consumer.parked.begin([key])
  const outcome = await transaction.commit({ done: [key.messages.length], handled: [], publish: [] })
  await transaction.rollBack()
  return outcome
}
