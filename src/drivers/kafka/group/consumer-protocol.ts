import { TidemarkError } from '../../../errors.ts'
import type { TopicPartition } from '../../../message/port.ts'

/*
 * What members of a classic group tell each other through the coordinator, which does not look inside: Kafka's `ConsumerProtocolSubscription` and
 * `ConsumerProtocolAssignment`, so that Kafka's own tools and clients read ours and we read theirs.
 */

/** What a member wants and has. */
export interface Subscription {
  readonly topics: readonly string[]
  readonly owned: readonly TopicPartition[]
  /** The generation in which it came to own them; -1 where it does not say. */
  readonly generation: number
}

/** Owned partitions are named from version 1 on, the generation from 2, the rack from 3. */
const version = 3

export function encodeSubscription({ topics, owned, generation }: Subscription): Buffer {
  return Buffer.concat([
    int16(version),
    array(topics, string),
    noBytes,
    array(byTopic(owned), topicPartitions),
    int32(generation),
    int16(-1), // no rack
  ])
}

/** Reads any version, newer ones too: fields are only ever added behind. Throws `MESSAGE_UNDECODABLE`. */
export function decodeSubscription(bytes: Buffer): Subscription {
  const cursor = new Cursor(bytes)
  const found = cursor.int16()
  const topics = cursor.array(() => cursor.string())
  cursor.skipBytes()
  return {
    topics,
    owned: found >= 1 ? cursor.array(() => cursor.topicPartitions()).flat() : [],
    generation: found >= 2 ? cursor.int32() : -1,
  }
}

export function encodeAssignment(partitions: readonly TopicPartition[]): Buffer {
  return Buffer.concat([int16(version), array(byTopic(partitions), topicPartitions), noBytes])
}

/** No bytes at all are what a member gets whom the leader left out. Throws `MESSAGE_UNDECODABLE`. */
export function decodeAssignment(bytes: Buffer): readonly TopicPartition[] {
  if (bytes.length === 0) return []
  const cursor = new Cursor(bytes)
  cursor.int16()
  return cursor.array(() => cursor.topicPartitions()).flat()
}

function byTopic(partitions: readonly TopicPartition[]): [string, number[]][] {
  const topics = new Map<string, number[]>()
  for (const { topic, partition } of partitions) topics.set(topic, [...(topics.get(topic) ?? []), partition])
  return [...topics].sort(([a], [b]) => (a < b ? -1 : 1)).map(([topic, numbers]) => [topic, numbers.sort((a, b) => a - b)])
}

const noBytes = int32(-1)

function int16(value: number): Buffer {
  const bytes = Buffer.alloc(2)
  bytes.writeInt16BE(value)
  return bytes
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}

function string(value: string): Buffer {
  const bytes = Buffer.from(value)
  return Buffer.concat([int16(bytes.length), bytes])
}

function array<T>(values: readonly T[], encode: (value: T) => Buffer): Buffer {
  return Buffer.concat([int32(values.length), ...values.map(encode)])
}

function topicPartitions([topic, partitions]: [string, number[]]): Buffer {
  return Buffer.concat([string(topic), array(partitions, int32)])
}

class Cursor {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  int16(): number {
    return this.#take(2).readInt16BE()
  }

  int32(): number {
    return this.#take(4).readInt32BE()
  }

  string(): string {
    return this.#take(this.int16()).toString()
  }

  skipBytes(): void {
    this.#take(Math.max(0, this.int32()))
  }

  array<T>(read: () => T): T[] {
    const length = this.int32()
    // Each element takes two bytes at the least: a length beyond that is garbage, and would be much memory.
    if (length * 2 > this.#bytes.length - this.#at) this.#fail()
    return Array.from({ length: Math.max(0, length) }, read)
  }

  topicPartitions(): TopicPartition[] {
    const topic = this.string()
    return this.array(() => this.int32()).map((partition) => ({ topic, partition }))
  }

  #take(length: number): Buffer {
    if (length < 0 || this.#at + length > this.#bytes.length) this.#fail()
    this.#at += length
    return this.#bytes.subarray(this.#at - length, this.#at)
  }

  #fail(): never {
    throw new TidemarkError(
      'MESSAGE_UNDECODABLE',
      `What a member of the Kafka group told the others ends early or is none of Kafka's consumer protocol: ${this.#bytes.length} bytes.`,
      {
        remedy: 'Members of one group must all be consumers. Look at the group with kafka-consumer-groups --describe --members.',
      },
    )
  }
}
