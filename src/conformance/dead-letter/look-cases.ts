import assert from 'node:assert/strict'
import type { LetterFilter } from '../../dead-letter/index.ts'
import { TidemarkError } from '../../errors.ts'
import type { Case } from '../case.ts'
import { type DeadLetterStoreFixture, Owner, actor, letterAt, offsets } from './fixture.ts'

export const lookCases: readonly Case<DeadLetterStoreFixture>[] = [
  {
    name: 'letters are listed newest first, page by page, each once',
    async run(fixture) {
      const owner = await Owner.of(fixture)
      for (const key of ['a', 'b', 'c', 'd', 'e']) await owner.bury(key)
      const seen: number[] = []
      let after: string | null = null
      do {
        const page = await fixture.store.list({ groups: [fixture.group] }, { limit: 2, ...(after === null ? {} : { after }) })
        assert.ok(page.letters.length <= 2)
        seen.push(...offsets(page.letters))
        after = page.next
      } while (after !== null)
      assert.deepEqual(seen, [4, 3, 2, 1, 0])
    },
  },
  {
    name: 'a page goes on behind the one before, whatever became of its letters meanwhile',
    async run(fixture) {
      const owner = await Owner.of(fixture)
      for (const key of ['a', 'b', 'c', 'd']) await owner.bury(key)
      const filter = { groups: [fixture.group] }
      const first = await fixture.store.list(filter, { limit: 2 })
      await fixture.store.change(first.letters[1]!.id, { kind: 'discard' }, { actor })
      const second = await fixture.store.list(filter, { limit: 2, after: first.next! })
      assert.deepEqual([offsets(second.letters), second.next], [[1, 0], null])
      await assert.rejects(fixture.store.list(filter, { after: 'nowhere' }), (error) => TidemarkError.is(error, 'INPUT_INVALID'))
    },
  },
  {
    name: 'a letter is had with its bytes, headers, attempts and place; an unknown one is null',
    async run(fixture) {
      const owner = await Owner.of(fixture)
      await owner.bury('k')
      const { id } = await letterAt(fixture, 0)
      const found = (await fixture.store.get(id))!
      const { topicId } = owner.partition
      const place = {
        group: fixture.group,
        topic: 'things',
        topicId,
        partition: 0,
        offset: 0,
        type: 'Thing',
        policy: 'block',
        state: 'dead',
      }
      for (const [name, value] of Object.entries(place)) assert.equal(Reflect.get(found, name), value, name)
      assert.deepEqual(found.record.key, Buffer.from('k'))
      assert.equal(found.record.value?.toString(), '{"n":1}')
      assert.equal(found.record.timestamp, 1_750_000_000_123)
      const headers = found.record.headers.map(([name, value]) => [name, value === null ? null : Buffer.from(value).toString('hex')])
      assert.deepEqual(headers, [
        ['kind', Buffer.from('plain').toString('hex')],
        ['kind', Buffer.from('again').toString('hex')],
        ['raw', 'ff00'],
        ['none', null],
      ])
      assert.deepEqual(found.attempts, [{ at: 1_750_000_000_500, error: 'cannot be handled' }])
      assert.deepEqual(
        [found.errorClass, found.reason, found.codeVersion, found.messageId],
        ['TypeError', 'cannot be handled', 'v1', 'id-0'],
      )
      assert.equal(await fixture.store.get(2 ** 40), null)
    },
  },
  {
    name: 'every condition of a filter finds its letters, and all are joined',
    async run(fixture) {
      const owner = await Owner.of(fixture)
      await owner.bury('key-a', { type: 'A', errorClass: 'RangeError', reason: 'first 100% reason', handler: 'one' })
      await owner.bury('key-b', { type: 'B', reason: 'second reason', handler: 'two' }, '{"customer":"Ada"}')
      await owner.bury(null, { type: null, reason: 'third' })
      const { id, fingerprint } = await letterAt(fixture, 1)
      await fixture.store.change(id, { kind: 'assign', assignee: 'ada' }, { actor })
      const found = async (filter: LetterFilter): Promise<readonly number[]> =>
        offsets((await fixture.store.list({ groups: [fixture.group], ...filter })).letters)
      const cases: readonly (readonly [LetterFilter, readonly number[]])[] = [
        [{}, [2, 1, 0]],
        [{ ids: [id] }, [1]],
        [{ messageIds: ['id-2', 'id-9'] }, [2]],
        [{ types: ['A'] }, [0]],
        [{ errorClasses: ['TypeError'] }, [2, 1]],
        [{ fingerprints: [fingerprint], types: ['B'] }, [1]],
        [{ topics: ['elsewhere'] }, []],
        [{ keys: ['key-a', 'key-b'] }, [1, 0]],
        [{ handlers: ['two'] }, [1]],
        [{ assignee: 'ada' }, [1]],
        [{ assignee: null }, [2, 0]],
        [{ text: '100%' }, [0]],
        [{ text: 'SECOND' }, [1]],
        [{ text: 'ey-b' }, [1]],
        [{ text: 'id-2' }, [2]],
        [{ text: 'Ada' }, []],
        [{ text: 'Ada', inPayload: true }, [1]],
        [{ headers: { kind: 'again' } }, [2, 1, 0]],
        [{ headers: { kind: 'other' } }, []],
        [{ diedFrom: new Date(Date.now() + 60_000) }, []],
        [{ diedBefore: new Date(Date.now() + 60_000), types: ['B'] }, [1]],
        [{ states: ['redriven'] }, []],
        [{ archived: true }, []],
        [{ groups: ['nobody'] }, []],
      ]
      for (const [filter, expected] of cases) assert.deepEqual(await found(filter), expected, JSON.stringify(filter))
    },
  },
  {
    name: 'a filter is counted: letters, keys, oldest and newest',
    async run(fixture) {
      const owner = await Owner.of(fixture)
      for (const key of ['a', 'b', null, null]) await owner.bury(key, { policy: 'skip' })
      await owner.bury('a', { policy: 'skip' })
      const counted = await fixture.store.count({ groups: [fixture.group] })
      assert.deepEqual([counted.count, counted.keys], [5, 4])
      assert.ok(counted.oldest! <= counted.newest!)
      const nothing = { count: 0, keys: 0, oldest: null, newest: null }
      assert.deepEqual(await fixture.store.count({ groups: [fixture.group], types: ['none'] }), nothing)
    },
  },
  {
    name: 'letters are grouped by how they died, and counted by type and reason',
    async run(fixture) {
      const owner = await Owner.of(fixture)
      await owner.bury('a', { reason: 'old' })
      await owner.bury('b', { reason: 'new' })
      await owner.bury('c', { errorClass: 'RangeError', type: null, reason: 'other' })
      const filter = { groups: [fixture.group] }
      const groups = await fixture.store.groups(filter)
      assert.deepEqual(
        groups.map(({ errorClass, type, count, example }) => [errorClass, type, count, example.reason]),
        [
          ['TypeError', 'Thing', 2, 'new'],
          ['RangeError', null, 1, 'other'],
        ],
      )
      assert.equal((await fixture.store.groups(filter, 1)).length, 1)
      const stats = await fixture.store.stats(filter)
      assert.equal(stats.count, 3)
      assert.deepEqual(Object.fromEntries(stats.byType), { Thing: 2, '': 1 })
      assert.deepEqual(Object.fromEntries(stats.byReason), { old: 1, new: 1, other: 1 })
      assert.ok(stats.oldestFailure instanceof Date)
      const [own] = (await fixture.store.byGroup(new Date(0))).filter(({ group }) => group === fixture.group)
      assert.deepEqual([own?.count, own?.recent, own?.example.messageId], [3, 3, 'id-2'])
      assert.deepEqual([...own!.kinds].sort(), groups.map(({ fingerprint }) => fingerprint).sort())
      assert.equal(groups[0]!.example.messageId, 'id-1')
    },
  },
  {
    name: 'a letter that died in a retry topic is found by that topic and by the one it was first in',
    async run(fixture) {
      const owner = await Owner.of(fixture, 'things.retry.1')
      const first = [
        ['tidemark-original-topic', 'things'],
        ['tidemark-original-partition', '3'],
        ['tidemark-original-offset', '5'],
        ['tidemark-original-timestamp', '1750000000000'],
      ] as const
      const place = { topic: 'things.retry.1', partition: 0, offset: 0, timestamp: 1_750_000_000_123 }
      await owner.bury('k', { record: { ...place, key: Buffer.from('k'), value: null, headers: first } })
      const found = async (...topics: readonly string[]): Promise<number> =>
        (await fixture.store.list({ groups: [fixture.group], topics })).letters.length
      assert.deepEqual(
        [await found('things'), await found('things.retry.1'), await found('other', 'things'), await found('thing'), await found('other')],
        [1, 1, 1, 0, 0],
      )
    },
  },
  {
    name: 'a selection has every letter once, key by key in the order of the offsets',
    async run(fixture) {
      const owner = await Owner.of(fixture)
      for (const key of ['b', 'a', null, 'b', 'a', null, 'b']) await owner.bury(key, { policy: 'skip' })
      const { letters } = await fixture.store.list({ groups: [fixture.group] })
      const offsetOf = new Map(letters.map(({ id, offset }) => [id, offset]))
      const byOrder = new Map<string, number[]>()
      const inTurn: string[] = []
      for await (const page of fixture.store.select({ groups: [fixture.group] }, 2)) {
        assert.ok(page.length <= 2)
        for (const { id, order } of page) {
          byOrder.set(order, [...(byOrder.get(order) ?? []), offsetOf.get(id)!])
          if (inTurn.at(-1) !== order) inTurn.push(order)
        }
      }
      assert.deepEqual([...byOrder.values()].map(String).sort(), ['0,3,6', '1,4', '2', '5'])
      assert.equal(inTurn.length, byOrder.size)
    },
  },
]
