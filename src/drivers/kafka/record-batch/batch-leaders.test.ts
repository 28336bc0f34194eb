import { expect, test } from 'vitest'
import { marker, storedBatch } from '../../../../test/drivers/kafka/support/stored-batch.ts'
import type { LeaderRun } from '../../../message/port.ts'
import { type DecodeOptions, decodeBatches } from './decode-batches.ts'

/** As the leader of an epoch appends it; the checksum does not cover that. */
function appended(leaderEpoch: number, batch: Buffer): Buffer {
  batch.writeInt32BE(leaderEpoch, 12)
  return batch
}

const batch = (leaderEpoch: number, baseOffset: number, count = 3): Buffer =>
  appended(leaderEpoch, storedBatch({ baseOffset, records: Array.from({ length: count }, () => ({ value: Buffer.from('x') })) }))

function leaders(batches: readonly Buffer[], options: Partial<DecodeOptions> = {}): readonly LeaderRun[] {
  const reply = Buffer.concat(batches)
  return decodeBatches(reply, { topic: 't', partition: 0, from: 0, abortedTransactions: null, ...options }).leaders
}

test('batches of one leader are one stretch, and each leader has its own', () => {
  expect(leaders([batch(4, 0), batch(4, 3), batch(6, 6), batch(7, 9)])).toEqual([
    { leaderEpoch: 4, from: 0, to: 6 },
    { leaderEpoch: 6, from: 6, to: 9 },
    { leaderEpoch: 7, from: 9, to: 12 },
  ])
})

test('the first stretch begins where its batch does, the last one ends where whole batches do', () => {
  const cut = batch(6, 6)
  expect(leaders([batch(4, 0), batch(5, 3), cut.subarray(0, cut.length - 1)], { from: 1 })).toEqual([
    { leaderEpoch: 4, from: 0, to: 3 },
    { leaderEpoch: 5, from: 3, to: 6 },
  ])
})

test('what has no records for us was written by a leader, too', () => {
  const aborted = appended(3, storedBatch({ baseOffset: 0, attributes: 16, producerId: 1n, records: [{}] }))
  expect(leaders([aborted, appended(5, marker('abort', 1n, 1))], { abortedTransactions: [{ producerId: 1n, firstOffset: 0n }] })).toEqual([
    { leaderEpoch: 3, from: 0, to: 1 },
    { leaderEpoch: 5, from: 1, to: 2 },
  ])
})

test('a batch that does not name its leader says nothing', () => {
  expect(leaders([batch(-1, 0)])).toEqual([])
})

test('a broken batch that is left for the next time is not passed', () => {
  const broken = batch(5, 3)
  broken.writeUInt32BE(1, 17)
  expect(leaders([batch(4, 0), broken])).toEqual([{ leaderEpoch: 4, from: 0, to: 3 }])
})
