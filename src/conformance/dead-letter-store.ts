/**
 * The promises of the `DeadLetterStore` port, as cases that any test runner can register; see `exercise`. Each case gets a group of its own.
 *
 * @module
 */
import assert from 'node:assert/strict'
import type { BatchEnd, ConsumerStore, DeadLetter, LanePosition, PartitionRef } from '../consumer/port.ts'
import type { DeadLetterStore, Letter, LetterFilter, RedriveOutcome } from '../dead-letter/index.ts'
import { TidemarkError } from '../errors.ts'
import type { LogRecord } from '../message/port.ts'
import type { Case } from './case.ts'

/** A message of a parked key. */
export interface WaitingMessage {
  readonly offset: number
  readonly dead: boolean
  readonly value: string | null
}

/** Both sides of the same tables: consumers write letters, operators work with them. */
export interface DeadLetterStoreFixture {
  readonly store: DeadLetterStore
  readonly consumer: ConsumerStore
  /** A group that nobody else uses. */
  readonly group: string
  /** What waits behind parked keys, by offset. */
  waiting(partition: PartitionRef): Promise<readonly WaitingMessage[]>
}

const actor = 'operator'

/** A partition with one lane, and what its owner knows. */
class Owner {
  readonly partition: PartitionRef
  readonly #consumer: ConsumerStore
  position: LanePosition

  private constructor(consumer: ConsumerStore, partition: PartitionRef, position: LanePosition) {
    this.#consumer = consumer
    this.partition = partition
    this.position = position
  }

  static async of({ consumer, group }: DeadLetterStoreFixture, topicName = 'things'): Promise<Owner> {
    const topic = { group, topic: topicName, topicId: `id of ${topicName}` }
    const partition = { ...topic, partition: 0 }
    await consumer.makePositions({ topic, lanes: 1, first: [0], later: [0] })
    const taken = await consumer.takeOver({ partition, lockTimeoutMs: 1_000 })
    return new Owner(consumer, partition, taken.lanes[0]!)
  }

  /** Commits a batch of one message: dead, or queued behind its key. */
  async take(end: Partial<Pick<BatchEnd, 'deadLetters' | 'queue'>>): Promise<string> {
    const batch = await this.#consumer.begin({ ...this.partition, lane: this.position.lane })
    const { nextOffset, highWater } = this.position
    const base = { position: this.position, nextOffset: nextOffset + 1, leaderEpoch: null, highWater, handled: [], publish: [] }
    const bounds = { bytesPerKey: 1_000_000, bytesPerPartition: 1_000_000 }
    const done = await batch.commit({ ...base, queue: [], park: [], deadLetters: [], bounds, inFlight: 1, ...end })
    await batch.rollBack()
    if (done.outcome === 'committed') this.position = done.position
    return done.outcome
  }

  bury(key: string | null, rest: Partial<DeadLetter> = {}, value?: string): Promise<string> {
    return this.take({ deadLetters: [letter(this.#record(key, value), rest)] })
  }

  queue(key: string): Promise<string> {
    return this.take({ queue: [this.#record(key)] })
  }

  async reload(): Promise<readonly string[]> {
    const found = await this.#consumer.reload({ ...this.partition, lane: this.position.lane })
    this.position = found!.position
    return found!.parkedKeys.map((key) => Buffer.from(key, 'base64').toString())
  }

  #record(key: string | null, value = '{"n":1}'): LogRecord {
    const bytes = key === null ? null : Buffer.from(key)
    const offset = this.position.nextOffset
    const headers: LogRecord['headers'] = [
      ['kind', 'plain'],
      ['kind', 'again'],
      ['raw', Buffer.from([0xff, 0])],
      ['none', null],
    ]
    return { topic: 'things', partition: 0, offset, timestamp: 1_750_000_000_123, key: bytes, value: Buffer.from(value), headers }
  }
}

function letter(of: LogRecord, rest: Partial<DeadLetter>): DeadLetter {
  return {
    record: of,
    messageId: `id-${of.offset}`,
    type: 'Thing',
    handler: 'handle things',
    policy: of.key === null ? 'skip' : 'block',
    errorClass: 'TypeError',
    reason: 'cannot be handled',
    stack: 'TypeError: cannot be handled\n    at place',
    frame: 'place',
    fingerprint: `${rest.errorClass ?? 'TypeError'} of ${rest.type === undefined ? 'Thing' : rest.type}`,
    attempts: [{ at: 1_750_000_000_500, error: 'cannot be handled' }],
    codeVersion: 'v1',
    ...rest,
  }
}

/** The one letter at an offset. */
async function letterAt({ store, group }: DeadLetterStoreFixture, offset: number): Promise<Letter> {
  const { letters } = await store.list({ groups: [group], states: ['dead', 'redriven', 'discarded'], archived: 'any' })
  return letters.find((one) => one.offset === offset)!
}

async function isRefused(work: Promise<unknown>): Promise<void> {
  await assert.rejects(work, (error) => TidemarkError.is(error, 'DEAD_LETTER_CONFLICT'))
}

function outcomes(all: readonly RedriveOutcome[]): readonly string[] {
  return all.map((one) => (one.outcome === 'redriven' ? 'redriven' : one.reason))
}

const offsets = (all: readonly Letter[]): readonly number[] => all.map(({ offset }) => offset)

export const deadLetterStoreCases: readonly Case<DeadLetterStoreFixture>[] = [
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

function record(offset: number, key: string): LogRecord {
  return {
    topic: 'things',
    partition: 0,
    offset,
    timestamp: 1_750_000_000_123,
    key: Buffer.from(key),
    value: Buffer.from('{}'),
    headers: [],
  }
}
