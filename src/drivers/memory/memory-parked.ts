import type { LeasedKey } from '../../consumer/parked-port.ts'
import type { PartitionRef } from '../../consumer/port.ts'
import { type MemoryConsumerTables, type ParkedMessage, freshState } from './memory-consumer-tables.ts'
import { newLife } from './memory-letters.ts'

/** What retriers look at and change under a key's lock. */

export function queueOf(tables: MemoryConsumerTables, partition: PartitionRef, key: string): readonly ParkedMessage[] {
  const queue = tables.partition(partition)?.parked.get(key) ?? []
  return [...queue].sort((a, b) => a.record.offset - b.record.offset)
}

export function isLeased(tables: MemoryConsumerTables, { partition, key, token }: LeasedKey): boolean {
  const name = key.toString('base64')
  const found = tables.partition(partition)
  return found?.parked.has(name) === true && (found.states.get(name) ?? freshState).lease === token
}

/** Are these the first messages still, and none of them dead? */
export function isHead(tables: MemoryConsumerTables, { partition, key }: LeasedKey, offsets: readonly number[]): boolean {
  const head = queueOf(tables, partition, key.toString('base64')).slice(0, offsets.length)
  return head.length === offsets.length && head.every(({ record, dead }, i) => record.offset === offsets[i] && !dead)
}

/** Letters that were redriven have come to their end. */
export function endLetters(tables: MemoryConsumerTables, { partition, key }: LeasedKey, offsets: readonly number[], now: number): void {
  for (const { record, letterId } of queueOf(tables, partition, key.toString('base64'))) {
    if (letterId === undefined || !offsets.includes(record.offset)) continue
    const life = tables.letterLives.get(letterId) ?? newLife
    if (life.state === 'redriven') tables.letterLives.set(letterId, { ...life, version: life.version + 1, endedAt: new Date(now) })
  }
}

/** A key with a dead head waits until somebody decides. */
export function blockIfDead(tables: MemoryConsumerTables, partition: PartitionRef, key: string): void {
  if (queueOf(tables, partition, key)[0]?.dead === true) tables.note(partition, key, { nextAttemptAt: Number.POSITIVE_INFINITY })
}
