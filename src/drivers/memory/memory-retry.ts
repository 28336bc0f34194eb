import type { LeasedKey, RetryEnd, RetryOutcome, RetryTransaction } from '../../consumer/parked-port.ts'
import { MemoryHandlerTransaction, type MemoryTransactionParts } from './memory-batch.ts'
import { keyLock } from './memory-consumer-tables.ts'
import { blockIfDead, endLetters, isHead, isLeased } from './memory-parked.ts'

/** A retrier's transaction in memory, with the steps and the locks of the one in Postgres. */
export class MemoryRetry extends MemoryHandlerTransaction implements RetryTransaction {
  readonly #key: LeasedKey

  constructor(parts: MemoryTransactionParts, key: LeasedKey) {
    super(parts, key.partition.group)
    this.#key = key
  }

  async commit({ done, handled, publish }: RetryEnd): Promise<RetryOutcome> {
    const { database, tables, standstillMs } = this.parts
    const { partition, key } = this.#key
    const name = key.toString('base64')
    const offsets = this.#key.messages.slice(0, done).map(({ record }) => record.offset)
    let released = false
    const refusal = await this.end<'moved' | 'duplicate'>(publish, async () => {
      await database.step('lock key', this.tx)
      await this.tx.lock(keyLock(partition, name))
      this.tx.limitStandstill(standstillMs)
      if (!isLeased(tables, this.#key)) return 'moved'
      await database.step('head', this.tx)
      if (!isHead(tables, this.#key, offsets)) return 'moved'
      this.tx.stage(() => {
        endLetters(tables, this.#key, offsets, database.clock.now())
        tables.remove(partition, name, offsets)
        blockIfDead(tables, partition, name)
        released = !tables.partition(partition)!.parked.has(name)
      })
      return this.remember(handled)
    })
    return refusal === null ? { outcome: 'committed', released } : { outcome: refusal }
  }
}
