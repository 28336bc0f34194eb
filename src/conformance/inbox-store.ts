/**
 * The promises of the `InboxStore` port, as cases that any test runner can register; see `exercise`. Each case gets a database of its own.
 *
 * @module
 */
import assert from 'node:assert/strict'
import type { ConsumerStore, DeadLetter } from '../consumer/port.ts'
import type { InboxStore } from '../inbox/port.ts'
import type { Header, LogRecord } from '../message/port.ts'
import { coordinateHeader } from '../message/wire.ts'
import type { Case } from './case.ts'

export interface InboxStoreFixture {
  readonly consumer: ConsumerStore
  readonly inbox: InboxStore
  /** Lets so much time pass for the inbox. */
  pass(ms: number): Promise<void>
}

const day = 86_400_000
const foreign: readonly Header[] = [['ce_id', '1']]
const ours: readonly Header[] = [...foreign, [coordinateHeader, 's.1/1/0/1/1']]

/** A batch of one partition that handles one id, or gives one message up. */
async function commit({ consumer }: InboxStoreFixture, group: string, end: { handled?: string; dead?: LogRecord }): Promise<void> {
  const topic = { group, topic: 't', topicId: 'one' }
  await consumer.makePositions({ topic, lanes: 1, first: [0], later: [0] })
  const partition = { ...topic, partition: 0 }
  const { lanes } = await consumer.takeOver({ partition, lockTimeoutMs: 1_000 })
  const [position] = lanes
  const batch = await consumer.begin({ ...partition, lane: 0 })
  const { outcome } = await batch.commit({
    position: position!,
    nextOffset: position!.nextOffset + 1,
    leaderEpoch: null,
    highWater: {},
    handled: end.handled === undefined ? [] : [end.handled],
    queue: [],
    park: [],
    deadLetters: end.dead === undefined ? [] : [deadLetter(end.dead)],
    bounds: { bytesPerKey: 1_000, bytesPerPartition: 1_000 },
    inFlight: 1,
    ran: [],
    publish: [],
  })
  assert.equal(outcome, 'committed')
}

function record(offset: number, timestamp: number, headers: readonly Header[]): LogRecord {
  return { topic: 't', partition: 0, offset, timestamp, key: null, value: Buffer.from('{}'), headers }
}

function deadLetter(of: LogRecord): DeadLetter {
  const about = { messageId: null, type: null, handler: null, codeVersion: null, stack: null, frame: null, fingerprint: 'f' }
  return { ...about, record: of, policy: 'skip', errorClass: 'Error', reason: 'no', attempts: [{ at: of.timestamp, error: 'no' }] }
}

export const inboxStoreCases: readonly Case<InboxStoreFixture>[] = [
  {
    name: 'an inbox that has forgotten nothing says so, and which groups have ids in it',
    async run(fixture) {
      await commit(fixture, 'a', { handled: 'id-1' })
      await commit(fixture, 'b', {})
      assert.deepEqual(await fixture.inbox.state(['b', 'a', 'c']), {
        rememberedSince: null,
        groupsWithIds: ['a'],
        oldestForgottenLetter: null,
      })
    },
  },
  {
    name: 'what is said to be remembered is, at every moment, and it is never less than the time asked for',
    async run(fixture) {
      const { consumer, inbox } = fixture
      const handledAt = new Map<string, number>()
      let now = 0
      for (let hour = 0; hour < 60; hour++) {
        await commit(fixture, 'g', { handled: `id-${hour}` })
        handledAt.set(`id-${hour}`, now)
        await fixture.pass(day / 10)
        now += day / 10
        await consumer.forgetHandled(day)
        const batch = await consumer.begin({ group: 'g', topic: 't', topicId: 'one', partition: 0, lane: 0 })
        const there = await batch.alreadyHandled([...handledAt.keys()])
        await batch.rollBack()
        for (const [id, at] of handledAt) if (now - at < day * 0.999) assert.ok(there.has(id), `${id} after ${now - at} ms`)
      }
      const { rememberedSince } = await inbox.state(['g'])
      assert.ok(rememberedSince !== null)
    },
  },
  {
    name: 'of the dead letters that came before what is remembered, the oldest without a coordinate is named',
    async run(fixture) {
      const { consumer, inbox } = fixture
      const long = 1_000 * day
      for (const dead of [
        record(0, long - 2, ours),
        record(1, long, foreign),
        record(2, long - 1, foreign),
        record(3, 50_000 * day, foreign),
      ])
        await commit(fixture, 'g', { handled: `id-${dead.offset}`, dead })
      assert.equal((await inbox.state(['g'])).oldestForgottenLetter, null)
      for (let turn = 0; turn < 5; turn++) {
        await fixture.pass(day)
        await consumer.forgetHandled(day)
      }
      assert.equal((await inbox.state(['g'])).oldestForgottenLetter, long - 1)
      assert.equal((await inbox.state(['another'])).oldestForgottenLetter, null)
    },
  },
]
