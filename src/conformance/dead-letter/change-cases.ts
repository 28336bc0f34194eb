import assert from 'node:assert/strict'
import { TidemarkError } from '../../errors.ts'
import type { Case } from '../case.ts'
import { type DeadLetterStoreFixture, Owner, actor, auditLine, isRefused, letterAt, offsets, outcomes, record } from './fixture.ts'

export const changeCases: readonly Case<DeadLetterStoreFixture>[] = [
  {
    name: 'a discarded letter that blocked lets those behind it go on, and releases its key when it was the last',
    async run(fixture) {
      const owner = await Owner.of(fixture)
      await owner.bury('k')
      await owner.queue('k')
      await owner.bury('last')
      const [first, last] = [await letterAt(fixture, 0), await letterAt(fixture, 2)]
      const done = await fixture.store.change(first.id, { kind: 'discard' }, { actor, reason: 'a test order', version: first.version })
      assert.deepEqual([done?.state, done?.endedBy, done?.endReason], ['discarded', actor, 'a test order'])
      assert.deepEqual(
        (await fixture.waiting(owner.partition)).map(({ offset, dead }) => [offset, dead]),
        [
          [1, false],
          [2, true],
        ],
      )
      await fixture.store.change(last.id, { kind: 'discard' }, { actor })
      assert.deepEqual(await owner.reload(), ['k'])
      await isRefused(fixture.store.change(first.id, { kind: 'discard' }, { actor }))
      assert.deepEqual(outcomes(await fixture.store.redrive([{ id: first.id }], { actor })), ['not-dead'])
    },
  },
  {
    name: 'a discard takes nothing out of the queue but the dead: what came again from the log waits on',
    async run(fixture) {
      const owner = await Owner.of(fixture)
      await owner.bury('k', { policy: 'skip' })
      await owner.bury('k')
      await owner.take({ queue: [record(0, 'k')] })
      await fixture.store.change((await letterAt(fixture, 0)).id, { kind: 'discard' }, { actor })
      assert.deepEqual(
        (await fixture.waiting(owner.partition)).map(({ offset, dead }) => [offset, dead]),
        [
          [0, false],
          [1, true],
        ],
      )
    },
  },
  {
    name: 'lines of the audit log come with the change, and with none where nothing changes',
    async run(fixture) {
      const { store, group, audit } = fixture
      const owner = await Owner.of(fixture)
      for (const key of ['a', 'b', 'c']) await owner.bury(key)
      const ids = await Promise.all([0, 1, 2].map(async (offset) => (await letterAt(fixture, offset)).id))
      const by = (...verbs: readonly string[]): { actor: string; audit: ReturnType<typeof auditLine>[] } => ({
        actor,
        audit: verbs.map((verb) => auditLine(group, verb)),
      })
      const verbs = async (): Promise<readonly string[]> =>
        (await audit.listAudit({ target: { type: group } })).map(({ verb }) => verb).toReversed()
      await store.change(ids[0]!, { kind: 'comment', text: 'seen' }, by('comment'))
      await store.change(ids[0]!, { kind: 'discard' }, by('discard'))
      await store.redrive([{ id: ids[1]! }], by('redrive'))
      await store.edit(ids[2]!, { value: Buffer.from('one') }, by('edit'))
      await store.edit(ids[2]!, { value: Buffer.from('two') }, { ...by('edit', 'redrive'), redrive: true })
      const all = ['comment', 'discard', 'redrive', 'edit', 'edit', 'redrive']
      assert.deepEqual(await verbs(), all)
      await isRefused(store.change(ids[0]!, { kind: 'discard' }, by('discard')))
      await isRefused(store.edit(ids[2]!, { value: null }, { ...by('edit'), redrive: true }))
      assert.deepEqual(outcomes(await store.redrive([{ id: ids[1]! }], by('redrive'))), ['not-dead'])
      assert.deepEqual(await verbs(), all)
    },
  },
  {
    name: 'an edit changes what a redrive brings, and keeps what stood there, over any number of edits',
    async run(fixture) {
      const owner = await Owner.of(fixture)
      await owner.bury('k', {}, 'zero')
      const { id } = await letterAt(fixture, 0)
      await fixture.store.edit(id, { value: Buffer.from('one') }, { actor, reason: 'typo' })
      await fixture.store.edit(id, { value: Buffer.from('two'), headers: [['only', 'this']] }, { actor: 'another' })
      const edited = (await fixture.store.get(id))!
      assert.deepEqual([edited.record.value?.toString(), edited.record.headers, edited.edits], ['two', [['only', 'this']], 2])
      assert.deepEqual(
        edited.lineage.map(({ number, before, actor: by, reason }) => [number, before.value?.toString(), by, reason]),
        [
          [1, 'zero', actor, 'typo'],
          [2, 'one', 'another', null],
        ],
      )
      await fixture.store.redrive([{ id }], { actor })
      assert.deepEqual(await fixture.waiting(owner.partition), [{ offset: 0, dead: false, value: 'two' }])
      await isRefused(fixture.store.edit(id, { value: null }, { actor }))
    },
  },
  {
    name: 'of two edits of the same sight one is made, the other one is a conflict',
    async run(fixture) {
      const owner = await Owner.of(fixture)
      await owner.bury('k')
      const { id, version } = await letterAt(fixture, 0)
      const edits = await Promise.allSettled(
        ['a', 'b'].map((text) => fixture.store.edit(id, { value: Buffer.from(text) }, { actor, version, redrive: text === 'b' })),
      )
      const failed = edits.filter(({ status }) => status === 'rejected')
      assert.equal(failed.length, 1)
      assert.ok(TidemarkError.is((failed[0] as PromiseRejectedResult).reason, 'DEAD_LETTER_CONFLICT'))
      assert.equal((await fixture.store.get(id))?.lineage.length, 1)
      assert.equal((await fixture.waiting(owner.partition)).length, 1)
    },
  },
  {
    name: 'edited and redriven in one, there is one live copy, with the new value; refused, nothing is edited',
    async run(fixture) {
      const owner = await Owner.of(fixture)
      await owner.bury('k', { policy: 'skip' }, 'old')
      const { id, version } = await letterAt(fixture, 0)
      const done = await fixture.store.edit(id, { value: Buffer.from('new') }, { actor, version, redrive: true })
      assert.deepEqual([done?.state, done?.edits, done?.redrives], ['redriven', 1, 1])
      assert.ok(!Object.hasOwn(done!, 'record'), 'a letter as lists show it, without its payload')
      assert.deepEqual(await fixture.waiting(owner.partition), [{ offset: 0, dead: false, value: 'new' }])
      await isRefused(fixture.store.edit(id, { value: Buffer.from('newer') }, { actor, redrive: true }))
      assert.equal((await fixture.store.get(id))?.edits, 1)
      assert.equal(await fixture.store.edit(2 ** 40, { value: null }, { actor, redrive: true }), null)
    },
  },
  {
    name: 'assigned, commented, archived and restored: each stands in the history with who did it',
    async run(fixture) {
      const owner = await Owner.of(fixture)
      await owner.bury('k', { policy: 'skip' })
      await owner.bury('blocked')
      const { id } = await letterAt(fixture, 0)
      const { store } = fixture
      assert.equal((await store.change(id, { kind: 'assign', assignee: 'ada' }, { actor }))?.assignee, 'ada')
      await store.change(id, { kind: 'comment', text: 'looks like the price' }, { actor: 'ada' })
      assert.ok((await store.change(id, { kind: 'archive' }, { actor, reason: 'known' }))?.archivedAt instanceof Date)
      assert.deepEqual(offsets((await store.list({ groups: [fixture.group] })).letters), [1])
      assert.deepEqual(offsets((await store.list({ groups: [fixture.group], archived: true })).letters), [0])
      assert.deepEqual(outcomes(await store.redrive([{ id }], { actor })), ['archived'])
      assert.equal((await store.change(id, { kind: 'restore' }, { actor }))?.archivedAt, null)
      assert.deepEqual(
        (await store.get(id))?.history.map(({ action, actor: by, text }) => [action, by, text]),
        [
          ['assigned', actor, 'ada'],
          ['commented', 'ada', 'looks like the price'],
          ['archived', actor, 'known'],
          ['restored', actor, null],
        ],
      )
      await isRefused(store.change((await letterAt(fixture, 1)).id, { kind: 'archive' }, { actor }))
      await isRefused(store.change(id, { kind: 'assign', assignee: null }, { actor, version: 1 }))
      assert.equal(await store.change(2 ** 40, { kind: 'restore' }, { actor }), null)
    },
  },
]
