import fc from 'fast-check'
import { expect, test } from 'vitest'
import { attributeBits, marker, storedBatch } from '../../../../test/drivers/kafka/support/stored-batch.ts'
import type { AbortedTransaction } from './aborted-transactions.ts'
import { decodeBatches } from './decode-batches.ts'

/** Producers take turns: each writes without a transaction, within its own, or ends it. */
const step = fc.record({
  producer: fc.integer({ min: 1, max: 3 }),
  does: fc.constantFrom('plain', 'write', 'write', 'abort', 'commit'),
  records: fc.integer({ min: 1, max: 2 }),
})
const arbitrarySteps = fc.array(step, { maxLength: 40 })

interface Log {
  readonly batches: readonly Buffer[]
  readonly aborted: readonly AbortedTransaction[]
  /** Offsets of records that did not come of an aborted transaction. */
  readonly visible: readonly number[]
  /** Offset of each batch. */
  readonly starts: readonly number[]
  readonly end: number
}

/** Plays the steps as a broker would. Each transaction keeps its own offsets until its end says what they are worth. */
function play(steps: readonly { readonly producer: number; readonly does: string; readonly records: number }[]): Log {
  const batches: Buffer[] = []
  const starts: number[] = []
  const aborted: AbortedTransaction[] = []
  const visible: number[] = []
  const open = new Map<number, number[]>()
  let offset = 0
  const add = (batch: Buffer, records: number): void => {
    batches.push(batch)
    starts.push(offset)
    offset += records
  }
  const end = (producer: number, how: 'abort' | 'commit'): void => {
    const offsets = open.get(producer)
    if (offsets === undefined) return
    open.delete(producer)
    if (how === 'commit') visible.push(...offsets)
    else aborted.push({ producerId: BigInt(producer), firstOffset: BigInt(offsets[0]!) })
    add(marker(how, BigInt(producer), offset), 1)
  }
  for (const { producer, does, records } of steps) {
    if (does === 'abort' || does === 'commit') end(producer, does)
    else {
      const attributes = does === 'write' ? attributeBits.transactional : 0
      // An idempotent producer with a transaction open has no other batches.
      if (does === 'plain' && open.has(producer)) continue
      const written = [offset, offset + 1].slice(0, records)
      if (does === 'write') open.set(producer, [...(open.get(producer) ?? []), ...written])
      else visible.push(...written)
      add(storedBatch({ baseOffset: offset, producerId: BigInt(producer), attributes, records: written.map(() => ({})) }), records)
    }
  }
  // What is still open is not given to those who read what is committed: the log ends before it, for them.
  for (const producer of open.keys()) end(producer, 'commit')
  return { batches, aborted, visible: visible.toSorted((a, b) => a - b), starts, end: offset }
}

test('exactly the records of aborted transactions are left out, wherever the reply begins and whatever order they are listed in', () => {
  fc.assert(
    fc.property(arbitrarySteps, fc.nat(), fc.nat(), fc.boolean(), (steps, first, inside, reversed) => {
      const log = play(steps)
      const begin = log.batches.length === 0 ? 0 : first % log.batches.length
      const start = log.starts[begin] ?? 0
      const from = Math.min(start + (inside % 6), log.end)
      const listed = log.aborted.filter(({ producerId, firstOffset }) => endsAfter(log, producerId, firstOffset, start))
      const decoded = decodeBatches(Buffer.concat(log.batches.slice(begin)), {
        topic: 't',
        partition: 0,
        from,
        abortedTransactions: reversed ? listed.toReversed() : listed,
      })
      expect(decoded.records.map(({ offset }) => offset)).toEqual(log.visible.filter((offset) => offset >= from))
      expect(decoded.nextOffset).toBe(log.end)
    }),
    { numRuns: 500 },
  )
})

test('without a list the records of every transaction are given, and no marker', () => {
  fc.assert(
    fc.property(arbitrarySteps, (steps) => {
      const log = play(steps)
      const decoded = decodeBatches(Buffer.concat(log.batches), { topic: 't', partition: 0, from: 0, abortedTransactions: null })
      const markers = log.starts.filter((_, index) => (log.batches[index]!.readInt16BE(21) & attributeBits.control) !== 0)
      const all = Array.from({ length: log.end }, (_, offset) => offset).filter((offset) => !markers.includes(offset))
      expect(decoded.records.map(({ offset }) => offset)).toEqual(all)
    }),
  )
})

/** A broker lists the aborted transactions that reach into the range that was asked for. */
function endsAfter(log: Log, producerId: bigint, firstOffset: bigint, start: number): boolean {
  const end = log.batches.findIndex(
    (batch, index) =>
      (batch.readInt16BE(21) & attributeBits.control) !== 0 && batch.readBigInt64BE(43) === producerId && log.starts[index]! > firstOffset,
  )
  return log.starts[end]! >= start
}
