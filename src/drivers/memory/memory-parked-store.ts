import type {
  HeadFailure,
  LeaseRequest,
  LeasedKey,
  ParkedRecord,
  ParkedStore,
  RetryTransaction,
  SplitKeys,
} from '../../consumer/parked-port.ts'
import { parkedBytes } from '../../consumer/parked/parked-key.ts'
import type { PartitionRef } from '../../consumer/port.ts'
import type { MemoryTransactionParts } from './memory-batch.ts'
import { type MemoryPartition, type ParkedMessage, type ParkedState, byPlace, freshState, keyLock } from './memory-consumer-tables.ts'
import { blockIfDead, isHead, isLeased, queueOf } from './memory-parked.ts'
import { MemoryRetry } from './memory-retry.ts'
import { splitKeysOf } from './memory-split-keys.ts'
import type { MemoryTransaction } from './memory-transaction.ts'

/** Parked keys in memory, as retriers see them. */
export class MemoryParkedStore implements ParkedStore {
  readonly #parts: MemoryTransactionParts
  #lastToken = 0

  constructor(parts: MemoryTransactionParts) {
    this.#parts = parts
  }

  lease(request: LeaseRequest): Promise<readonly LeasedKey[]> {
    const { database, tables } = this.#parts
    return database.transaction(async (tx) => {
      await database.step('lease', tx)
      const now = database.clock.now()
      const leased: LeasedKey[] = []
      let [picked, suspects, bytes] = [0, 0, 0]
      for (const [partition, key] of this.#due(request, now)) {
        const state = partition.states.get(key) ?? freshState
        const isSuspect = state.lease !== null || state.crashes > 0
        if (isSuspect ? suspects === request.suspects : picked === request.keys) continue
        if (!isSuspect) bytes += tables.bytes(partition.ref, key)
        if (!isSuspect && picked >= request.beyond.keys && bytes > request.beyond.bytes) continue
        // As `skip locked` does: whoever has the key is at work on it.
        if (database.locks.holder(keyLock(partition.ref, key)) !== null) continue
        await tx.lock(keyLock(partition.ref, key))
        const messages = messagesOf(queueOf(tables, partition.ref, key), request)
        if (messages.length === 0) {
          tx.stage(() => blockIfDead(tables, partition.ref, key))
          continue
        }
        const { lease, attempts, failures, crashes } = state
        if (isSuspect) suspects += 1
        else picked += 1
        const token = String(++this.#lastToken)
        const crashed = crashes + (lease === null ? 0 : 1)
        tx.stage(() => tables.note(partition.ref, key, { lease: token, leaseUntil: now + request.leaseMs, crashes: crashed }))
        leased.push({ partition: partition.ref, key: Buffer.from(key, 'base64'), token, attempts, failures, crashes: crashed, messages })
      }
      return leased
    })
  }

  async begin(keys: readonly LeasedKey[]): Promise<RetryTransaction> {
    return new MemoryRetry(this.#parts, keys)
  }

  async failed(key: LeasedKey, failure: HeadFailure): Promise<boolean> {
    const { database } = this.#parts
    const tx = database.begin()
    try {
      if (!(await this.#note(tx, key, failure))) return false
      await database.step('commit', tx)
      tx.commit()
      return true
    } finally {
      tx.rollBack()
    }
  }

  /** `false`: the lease, or the head, is another one now. */
  async #note(tx: MemoryTransaction, key: LeasedKey, failure: HeadFailure): Promise<boolean> {
    const { database, tables, append } = this.#parts
    const { partition } = key
    const name = key.key.toString('base64')
    const { offset } = key.messages[0]!.record
    if (failure.do === 'bury' && failure.publish.length > 0) await append(tx, failure.publish)
    await tx.lock(keyLock(partition, name))
    await database.step('note failure', tx)
    if (!isLeased(tables, key) || !isHead(tables, key, [offset])) return false
    tx.stage(() => {
      if (failure.do === 'park') {
        const { charged, attempts, afterMs } = failure
        const nextAttemptAt = database.clock.now() + afterMs
        tables.note(partition, name, { ...freshState, attempts: charged, failures: attempts, nextAttemptAt })
        return
      }
      tables.bury(partition, failure.letter)
      tables.remove(partition, name, [offset])
      if (failure.letter.policy === 'block') tables.queue(partition, { record: key.messages[0]!.record, dead: true })
      blockIfDead(tables, partition, name)
    })
    return true
  }

  renew(keys: readonly LeasedKey[], leaseMs: number): Promise<void> {
    return this.#eachLeased(keys, (now) => ({ leaseUntil: now + leaseMs }))
  }

  giveBack(keys: readonly LeasedKey[], how: 'tried' | 'untried', afterMs: number): Promise<void> {
    const blame = how === 'tried' ? { crashes: 0 } : {}
    return this.#eachLeased(keys, (now) => ({ lease: null, leaseUntil: 0, nextAttemptAt: now + afterMs, ...blame }))
  }

  /** Notes something of each key whose lease is not lost. */
  #eachLeased(keys: readonly LeasedKey[], change: (now: number) => Partial<ParkedState>): Promise<void> {
    const { database, tables } = this.#parts
    return database.transaction(async (tx) => {
      const named = keys.map((key) => ({ key, name: key.key.toString('base64') }))
      named.sort((a, b) => byPlace(a.key.partition, b.key.partition) || (a.name < b.name ? -1 : 1))
      for (const { key, name } of named) {
        await this.#lock(tx, key.partition, name)
        if (isLeased(tables, key)) tx.stage(() => tables.note(key.partition, name, change(database.clock.now())))
      }
    })
  }

  refund(partition: PartitionRef, keys: readonly Buffer[]): Promise<void> {
    const { database, tables } = this.#parts
    return database.transaction(async (tx) => {
      for (const name of keys.map((key) => key.toString('base64')).sort()) {
        await this.#lock(tx, partition, name)
        const { attempts, failures, lease, nextAttemptAt } = tables.partition(partition)?.states.get(name) ?? freshState
        if (attempts === 0 || lease !== null || nextAttemptAt === Number.POSITIVE_INFINITY) continue
        tx.stage(() =>
          tables.note(partition, name, { attempts: attempts - 1, failures: failures.slice(0, -1), nextAttemptAt: database.clock.now() }),
        )
      }
    })
  }

  async waiting(group: string): Promise<number> {
    let waiting = 0
    for (const { ref, parked, held } of this.#parts.tables.partitions.values()) {
      if (ref.group !== group) continue
      for (const [key, queue] of parked) if (!held.has(key) && !queue.some(({ dead }) => dead)) waiting += queue.length
    }
    return waiting
  }

  async splitKeys(group: string): Promise<readonly SplitKeys[]> {
    return splitKeysOf([...this.#parts.tables.partitions.values()].filter(({ ref }) => ref.group === group))
  }

  async #lock(tx: MemoryTransaction, partition: PartitionRef, key: string): Promise<void> {
    await tx.lock(keyLock(partition, key))
    await this.#parts.database.step('key', tx)
  }

  /** Keys that may be leased, those that are due for longest first. */
  #due({ group, topicIds }: LeaseRequest, now: number): readonly [MemoryPartition, string][] {
    const due: { readonly at: number; readonly of: [MemoryPartition, string] }[] = []
    for (const partition of this.#parts.tables.partitions.values()) {
      if (partition.ref.group !== group || !topicIds.includes(partition.ref.topicId)) continue
      for (const key of partition.parked.keys()) {
        if (partition.held.has(key)) continue
        const { lease, leaseUntil, nextAttemptAt } = partition.states.get(key) ?? freshState
        if (nextAttemptAt <= now && (lease === null || leaseUntil < now)) due.push({ at: nextAttemptAt, of: [partition, key] })
      }
    }
    return due.sort((a, b) => a.at - b.at).map(({ of }) => of)
  }
}

/** Up to the first dead one, and so many messages and bytes; the head in any case. */
function messagesOf(queue: readonly ParkedMessage[], { maxMessages, maxBytes }: LeaseRequest): readonly ParkedRecord[] {
  const messages: ParkedRecord[] = []
  let bytes = 0
  for (const { record, dead, letterId } of queue.slice(0, maxMessages)) {
    bytes += parkedBytes(record)
    if (dead || (messages.length > 0 && bytes > maxBytes)) break
    messages.push({ record, letterId: letterId === undefined ? null : String(letterId) })
  }
  return messages
}
