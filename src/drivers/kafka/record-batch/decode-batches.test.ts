import { compressionsAlgorithms } from '@platformatic/kafka'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type StoredRecord, attributeBits, marker, storedBatch, withChecksum } from '../../../../test/drivers/kafka/support/stored-batch.ts'
import type { LogRecord } from '../../../message/port.ts'
import { type DecodeOptions, type DecodedBatches, decodeBatches } from './decode-batches.ts'

const three: readonly StoredRecord[] = ['a', 'b', 'c'].map((text) => ({ key: Buffer.from(text), value: Buffer.from(text) }))
const damagedCode = expect.objectContaining({ code: 'BROKER_BATCH_CORRUPT', retryable: true })
const undecodable = (message: string): unknown =>
  expect.objectContaining({ code: 'MESSAGE_UNDECODABLE', retryable: false, message: expect.stringContaining(message) })

function decode(batches: Buffer | readonly Buffer[], options: Partial<DecodeOptions> = {}): DecodedBatches {
  const reply = Buffer.isBuffer(batches) ? batches : Buffer.concat(batches)
  return decodeBatches(reply, { topic: 'orders', partition: 3, from: 0, abortedTransactions: null, ...options })
}

function offsets({ records }: DecodedBatches): number[] {
  return records.map(({ offset }) => offset)
}

describe('what is given', () => {
  test('records of several batches, with their place, time, key, value and headers in order', () => {
    const headers: LogRecord['headers'] = [
      ['id', Buffer.from('1')],
      ['id', Buffer.from('2')],
      ['none', null],
      ['empty', Buffer.alloc(0)],
    ]
    const decoded = decode([
      storedBatch({ baseOffset: 40, records: [{ key: Buffer.from('k'), value: null, headers, timestampDelta: 5 }] }),
      storedBatch({ baseOffset: 41, records: [{ key: null, value: Buffer.alloc(0), timestampDelta: -700_000_000 }] }),
    ])
    expect(decoded.records).toEqual([
      { topic: 'orders', partition: 3, offset: 40, timestamp: 1_005, key: Buffer.from('k'), value: null, headers },
      { topic: 'orders', partition: 3, offset: 41, timestamp: 1_000 - 700_000_000, key: null, value: Buffer.alloc(0), headers: [] },
    ])
    expect(decoded.nextOffset).toBe(42)
  })

  test('records from the asked offset on, out of the middle of a batch', () => {
    const reply = [storedBatch({ records: three }), storedBatch({ baseOffset: 3, records: three })]
    expect(offsets(decode(reply, { from: 4 }))).toEqual([4, 5])
    expect(decode(reply, { from: 9 })).toMatchObject({ records: [], nextOffset: 9, bytes: 0 })
  })

  test('a batch wholly below the asked offset is not decoded', () => {
    const broken = storedBatch({ records: three, stored: (bytes) => bytes.fill(0xff) })
    expect(offsets(decode([broken, storedBatch({ baseOffset: 3, records: three })], { from: 3 }))).toEqual([3, 4, 5])
  })

  test('what compaction left, and the position moves past what it took', () => {
    const holes = storedBatch({ baseOffset: 10, lastOffsetDelta: 9, records: [{ offsetDelta: 2 }, { offsetDelta: 7 }] })
    const emptied = storedBatch({ baseOffset: 20, lastOffsetDelta: 4 })
    expect(offsets(decode([holes, emptied]))).toEqual([12, 17])
    expect(decode([holes]).nextOffset).toBe(20)
    expect(decode([holes, emptied]).nextOffset).toBe(25)
    expect(decode([emptied], { from: 20 })).toMatchObject({ records: [], nextOffset: 25, bytes: 0 })
  })

  test('the time at which the log took them, where the topic says so', () => {
    const records = [{ timestampDelta: 5 }, { timestampDelta: 9 }]
    const decoded = decode(storedBatch({ records, maxTimestamp: 7_777, attributes: attributeBits.logAppendTime }))
    expect(decoded.records.map(({ timestamp }) => timestamp)).toEqual([7_777, 7_777])
  })

  test('a time that dates can have, whatever number the producer wrote', () => {
    const times = [-1e15, -62_135_596_800_001, -1, 0, 1_767_312_245_678, 253_402_300_800_000, 1.8e18]
    const decoded = decode(times.map((baseTimestamp, baseOffset) => storedBatch({ baseOffset, baseTimestamp, records: [{}] })))
    expect(decoded.records.map(({ timestamp }) => timestamp)).toEqual([
      ...[Date.parse('0001-01-01T00:00:00Z'), Date.parse('0001-01-01T00:00:00Z'), -1, 0, 1_767_312_245_678],
      ...[Date.parse('9999-12-31T23:59:59.999Z'), Date.parse('9999-12-31T23:59:59.999Z')],
    ])
  })

  test('no markers, and the position moves past them', () => {
    const decoded = decode([
      storedBatch({ records: three, producerId: 1n, attributes: attributeBits.transactional }),
      marker('commit', 1n, 3),
    ])
    expect(offsets(decoded)).toEqual([0, 1, 2])
    expect(decoded.nextOffset).toBe(4)
  })

  test('an abort marker below the asked offset still ends its transaction', () => {
    const attributes = attributeBits.transactional
    const reply = [
      storedBatch({ records: three, producerId: 1n, attributes }),
      marker('abort', 1n, 3),
      storedBatch({ baseOffset: 4, records: three, producerId: 1n, attributes }),
      marker('commit', 1n, 7),
    ]
    expect(offsets(decode(reply, { from: 4, abortedTransactions: [{ producerId: 1n, firstOffset: 0n }] }))).toEqual([4, 5, 6])
  })

  test('what a producer with an aborted transaction wrote outside of it', () => {
    const reply = storedBatch({ records: three, producerId: 1n })
    expect(offsets(decode(reply, { abortedTransactions: [{ producerId: 1n, firstOffset: 0n }] }))).toEqual([0, 1, 2])
  })

  test('no more than was asked for, and the position is behind the last one', () => {
    const reply = [storedBatch({ records: three }), storedBatch({ baseOffset: 3, records: three })]
    for (const maxRecords of [1, 2, 3, 4, 6]) {
      expect(decode(reply, { maxRecords })).toMatchObject({ records: { length: maxRecords }, nextOffset: maxRecords })
    }
    expect(decode(reply, { maxRecords: 100 }).nextOffset).toBe(6)
    expect(decode(reply, { maxRecords: 0 })).toMatchObject({ records: [], nextOffset: 0, bytes: 0 })
  })

  test('offsets up to 2^53, exactly', () => {
    const baseOffset = Number.MAX_SAFE_INTEGER - 4
    expect(decode(storedBatch({ baseOffset, records: three }), { from: baseOffset })).toMatchObject({ nextOffset: baseOffset + 3 })
  })
})

describe('memory', () => {
  // Larger than what Node puts together in one slab.
  const large = three.map((record) => ({ ...record, value: Buffer.alloc(5_000, record.value!) }))

  test('the records do not hold the reply', () => {
    const reply = storedBatch({ records: large })
    const { records } = decode(reply)
    for (const { key, value } of records) for (const held of [key, value]) expect(held!.buffer === reply.buffer).toBe(false)
    reply.fill(0)
    expect(records.map(({ value }) => value!.toString())).toEqual(large.map(({ value }) => value.toString()))
  })

  test('what they hold is counted: their batches, as far as these were decoded', () => {
    const batch = storedBatch({ records: large })
    const second = storedBatch({ baseOffset: 3, records: large })
    expect(decode([batch, second]).bytes).toBe(2 * (batch.length - 61))
    expect(decode([batch, second], { from: 4 }).bytes).toBe(batch.length - 61)
    expect(decode([batch, second], { maxRecords: 1 }).bytes).toBe(batch.length - 61)
  })
})

describe('compression', () => {
  const value = Buffer.alloc(200_000, 'compress me')
  const available = (['gzip', 'snappy', 'lz4', 'zstd'] as const).filter((name) => compressionsAlgorithms[name].available)

  test.each(available)('a batch compressed with %s by the client is decoded', (name) => {
    const { bitmask, compressSync } = compressionsAlgorithms[name]
    const decoded = decode(storedBatch({ records: [{ value }], attributes: bitmask, stored: compressSync }))
    expect(decoded.records[0]!.value!.equals(value)).toBe(true)
    expect(decoded.bytes).toBeGreaterThan(value.length)
  })

  test.each(available)('a batch that says %s and is not is refused, not given', (name) => {
    const attributes = compressionsAlgorithms[name].bitmask
    expect(() => decode(storedBatch({ records: three, attributes }))).toThrow(undecodable('offset 0 of partition 3 of topic orders'))
    // The compression still works after it.
    expect(compressionsAlgorithms[name].decompressSync(compressionsAlgorithms[name].compressSync(value)).equals(value)).toBe(true)
  })

  test.skipIf(compressionsAlgorithms.zstd.available)('zstd on a Node without it is refused, with what to do', () => {
    expect(() => decode(storedBatch({ records: three, attributes: 4 }))).toThrow(undecodable('Run Node 22.15 or newer'))
  })

  test('a compression that Kafka does not have yet is refused', () => {
    expect(() => decode(storedBatch({ records: three, attributes: 5 }))).toThrow(undecodable('has the number 5'))
  })
})

describe('a reply that is cut off', () => {
  const reply = Buffer.concat([0, 3, 6].map((baseOffset) => storedBatch({ baseOffset, records: three })))

  test('gives its whole batches, wherever it ends', () => {
    const size = reply.length / 3
    for (let end = 0; end <= reply.length; end++) {
      expect(decode(reply.subarray(0, end))).toMatchObject({ nextOffset: 3 * Math.floor(end / size) })
    }
  })
})

describe('damage', () => {
  const batch = (baseOffset = 0): Buffer => storedBatch({ baseOffset, records: three })

  test('in any bit gives an error, or what was written, or less: never something else', () => {
    const reply = Buffer.concat([batch(), batch(3)])
    const written = decode(reply).records
    for (let bit = 0; bit < reply.length * 8; bit++) {
      const damaged = Buffer.from(reply)
      damaged[bit >> 3]! ^= 1 << (bit & 7)
      const records = recordsOrNone(damaged)
      // Base offset (0 to 7) and leader epoch (12 to 15) are not under the checksum: brokers set them.
      const inBaseOffset = bit >> 3 < 8 || (bit >> 3 >= reply.length / 2 && (bit >> 3) - reply.length / 2 < 8)
      if (!inBaseOffset) expect(records).toEqual(written.slice(0, records.length))
      if (!inBaseOffset && bit >> 3 > 15 && bit >> 3 < reply.length / 2) expect(records).toEqual([])
    }
  })

  test('under the checksum is named by topic, partition and offset, and may pass', () => {
    const damaged = batch(1_200)
    damaged[damaged.length - 2]! ^= 1
    expect(() => decode(damaged)).toThrow(damagedCode)
    expect(() => decode(damaged)).toThrow(/offset 1200 of partition 3 of topic orders is damaged: its checksum should be 0x/)
    expect(decode(damaged, { from: 1_200, verifyCrc: false }).records).toHaveLength(3)
  })

  test('behind whole batches is left for the next read', () => {
    const damaged = batch(3)
    damaged[70]! ^= 1
    expect(decode([batch(), damaged])).toMatchObject({ records: { length: 3 }, nextOffset: 3 })
    expect(() => decode([batch(), damaged], { from: 3 })).toThrow(damagedCode)
  })

  test('of records leaves none of their batch behind', () => {
    const damaged = storedBatch({ baseOffset: 3, records: three, stored: (bytes) => bytes.fill(0xff, bytes.length - 5) })
    expect(offsets(decode([batch(), damaged], { from: 1 }))).toEqual([1, 2])
  })

  test('of records under a right checksum is the doing of their producer, and does not pass', () => {
    const cut = storedBatch({ records: three, stored: (bytes) => bytes.subarray(0, bytes.length - 1) })
    expect(() => decode(cut)).toThrow(undecodable('under a right checksum'))
    expect(() => decode(cut, { verifyCrc: false })).toThrow(damagedCode)
  })

  test.each<[string, Parameters<typeof storedBatch>[0]]>([
    ['bytes behind the last record', { records: three, stored: (bytes) => Buffer.concat([bytes, Buffer.alloc(1)]) }],
    ['offsets that fall', { records: [{ offsetDelta: 1 }, { offsetDelta: 0 }] }],
    ['offsets that repeat', { records: [{ offsetDelta: 0 }, { offsetDelta: 0 }] }],
    ['an offset beyond its last', { lastOffsetDelta: 1, records: [{ offsetDelta: 2 }] }],
    ['a record longer than it says', { records: three, stored: shortened }],
    ['a record that says it reaches into the next', { records: three, stored: overstated }],
    ['a record shorter than it says', { records: [{}], stored: lengthened }],
    ['headers without number', { records: [{}], stored: (bytes) => bytes.fill(0xfe, bytes.length - 1) }],
    ['less than none', { records: [{}], stored: (bytes) => bytes.fill(1, bytes.length - 1) }],
  ])('%s are refused', (_, written) => {
    expect(() => decode(storedBatch(written))).toThrow(undecodable('offset 0 of partition 3'))
  })

  test('batches that fall back in the log are refused', () => {
    expect(decode([batch(5), batch(7)])).toMatchObject({ nextOffset: 8 })
    expect(() => decode([batch(5), batch(7)], { from: 8 })).toThrow(/7 to 9, where 8 or higher was expected/)
  })

  test('a head that cannot be one is refused', () => {
    expect(() => decode(storedBatch({ baseOffset: -5, records: three }))).toThrow(damagedCode)
    expect(() => decode(storedBatch({ lastOffsetDelta: -1, records: three }))).toThrow(damagedCode)
    expect(() => decode(changed((head) => head.writeInt32BE(-1, 57)))).toThrow(damagedCode)
    expect(() => decode(changed((head) => head.writeInt32BE(48, 8)))).toThrow('its length is 48, less than its head has')
    expect(() => decode(changed((head) => head.writeInt8(3, 16)))).toThrow(damagedCode)
  })

  test.each([0, 1])('the old format %i is refused, with what to do', (format) => {
    expect(() => decode(changed((head) => head.writeInt8(format, 16)))).toThrow(undecodable(`its format is ${format}, of Kafka 0.10`))
  })

  test('offsets beyond 2^53 are refused', () => {
    for (const baseOffset of [2n ** 53n - 3n, 2n ** 53n, 2n ** 63n - 1n]) {
      expect(() => decode(storedBatch({ baseOffset, records: three }))).toThrow(undecodable('beyond 2^53'))
    }
  })

  test('no bytes at all make it anything but done, or an error of the catalogue', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 120 }), fc.boolean(), (noise, verifyCrc) => {
        // A right head, and noise for records.
        const noisy = storedBatch({ records: three, stored: () => Buffer.from(noise) })
        for (const reply of [noisy, Buffer.from(noise)]) expect(() => recordsOrNone(reply, verifyCrc)).not.toThrow()
      }),
      { numRuns: 500 },
    )
  })
})

/** Throws what is not in the catalogue. */
function recordsOrNone(reply: Buffer, verifyCrc = true): readonly LogRecord[] {
  try {
    return decode(reply, { verifyCrc }).records
  } catch (error) {
    expect(['BROKER_BATCH_CORRUPT', 'MESSAGE_UNDECODABLE']).toContain((error as { readonly code?: unknown }).code)
    return []
  }
}

function changed(change: (head: Buffer) => void): Buffer {
  const batch = storedBatch({ records: three })
  change(batch)
  return withChecksum(batch)
}

/** The first record says that it ends a byte before it does. */
function shortened(bytes: Buffer): Buffer {
  bytes[0]! -= 2
  return bytes
}

/** The record says that it has a byte more than it has, and there is one. */
function lengthened(bytes: Buffer): Buffer {
  bytes[0]! += 2
  return Buffer.concat([bytes, Buffer.alloc(1)])
}

/** The first record says that a byte of the next one is its own. */
function overstated(bytes: Buffer): Buffer {
  bytes[0]! += 2
  return bytes
}
