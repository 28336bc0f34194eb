import { expect, test } from 'vitest'
import type { BatchEnd } from '../../src/consumer/port.ts'
import type { LeasedKey } from '../../src/consumer/parked-port.ts'
import { MemoryConsumerStore } from '../../src/drivers/memory/index.ts'
import type { LogRecord } from '../../src/message/port.ts'
import { deadLetter, noFailures } from '../dead-letter/support/buried.ts'

const actor = 'operator'
const attempts = [{ at: 1, error: 'away' }]

function record(offset: number): LogRecord {
  return { topic: 'things', partition: 0, offset, timestamp: 1, key: Buffer.from('k'), value: Buffer.from('{}'), headers: [] }
}

/** Messages of one key have come to these ends, one by one. Returns what works with them. */
async function ended(...ends: readonly Partial<Pick<BatchEnd, 'park' | 'deadLetters'>>[]) {
  const consumer = new MemoryConsumerStore()
  const topic = { group: 'billing', topic: 'things', topicId: 'id of things' }
  const partition = { ...topic, partition: 0 }
  await consumer.makePositions({ topic, lanes: 1, first: [0], later: [0] })
  let [position] = (await consumer.takeOver({ partition, lockTimeoutMs: 1_000 })).lanes
  for (const end of ends) {
    const batch = await consumer.begin({ ...partition, lane: 0 })
    const nextOffset = position!.nextOffset + 1
    const base = { position: position!, nextOffset, leaderEpoch: null, highWater: {}, handled: [], queue: [], publish: [] }
    const done = await batch.commit({ ...base, ...noFailures, ...end })
    await batch.rollBack()
    if (done.outcome !== 'committed') throw new Error(done.outcome)
    position = done.position
  }
  const request = {
    group: 'billing',
    topicIds: [topic.topicId],
    keys: 9,
    beyond: { keys: 9, bytes: 0 },
    suspects: 10,
    leaseMs: 60_000,
    maxMessages: 9,
    maxBytes: 1_000,
  }
  const lease = (): Promise<readonly LeasedKey[]> => consumer.parked.lease(request)
  const { letters } = await consumer.letters.list({})
  const idAt = (offset: number): number => letters.find((letter) => letter.offset === offset)!.id
  return { consumer, lease, idAt }
}

const dead = (offset: number, policy: 'block' | 'skip') => ({ deadLetters: [deadLetter(record(offset), policy)] })
const offsets = (keys: readonly LeasedKey[]) => keys.map(({ messages }) => messages.map(({ record: { offset } }) => offset))

test('a letter put behind a head that blocks does not make the key due; the end of the head does', async () => {
  const { consumer, lease, idAt } = await ended(dead(0, 'block'), dead(1, 'skip'))
  expect(await consumer.letters.redrive([{ id: idAt(1) }], { actor })).toMatchObject([{ outcome: 'redriven' }])
  expect(await lease()).toEqual([])
  await consumer.letters.change(idAt(0), { kind: 'discard' }, { actor })
  expect(offsets(await lease())).toEqual([[1]])
})

test('a discarded head leaves the key blocked where the next one is dead, too', async () => {
  const { consumer, lease, idAt } = await ended(dead(0, 'skip'), dead(1, 'block'))
  await consumer.letters.redrive([{ id: idAt(0) }], { actor })
  const [leased] = await lease()
  expect(offsets([leased!])).toEqual([[0]])
  expect(await consumer.parked.failed(leased!, { do: 'bury', letter: deadLetter(record(0), 'block'), publish: [] })).toBe(true)
  await consumer.letters.change(idAt(0), { kind: 'discard' }, { actor })
  expect(await lease()).toEqual([])
})

test('a letter put behind a head that is tried again leaves the head its tries, and its lease to whoever has it', async () => {
  const { consumer, lease, idAt } = await ended({ park: [{ record: record(0), attempts, reason: 'away', afterMs: 0 }] }, dead(1, 'skip'))
  const [leased] = await lease()
  expect(leased).toMatchObject({ attempts: 1 })
  await consumer.letters.redrive([{ id: idAt(1) }], { actor })
  expect(await lease()).toEqual([])
  await consumer.parked.giveBack([leased!], 'untried', 0)
  const [again] = await lease()
  expect([again?.attempts, offsets([again!])]).toEqual([1, [[0, 1]]])
})
