/**
 * The record batch of Kafka, magic 2, as brokers store and send it (Kafka documentation, "Message Format"): a head of 61 bytes, then the records,
 * compressed as a whole or not at all. Numbers of the head are big-endian; lengths and deltas of the records are zig-zag varints.
 */

/** Where the fields of the head begin. The checksum covers everything behind itself, so neither the base offset nor the leader epoch. */
export const field = {
  baseOffset: 0,
  length: 8,
  leaderEpoch: 12,
  magic: 16,
  checksum: 17,
  attributes: 21,
  lastOffsetDelta: 23,
  baseTimestamp: 27,
  maxTimestamp: 35,
  producerId: 43,
  producerEpoch: 51,
  baseSequence: 53,
  count: 57,
} as const

/** Bytes of a batch before its records. */
export const headSize = 61

/** Bytes that the field `length` does not count: the base offset and itself. */
export const uncounted = 12

export const magic = 2

/** Bits of the attributes. */
export const attribute = {
  compression: 0b111,
  logAppendTime: 1 << 3,
  transactional: 1 << 4,
  control: 1 << 5,
} as const
