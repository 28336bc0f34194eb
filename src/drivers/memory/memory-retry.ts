import type { LeasedKey, RetryEnd, RetryOutcome, RetryTransaction } from '../../consumer/parked-port.ts'
import { MemoryHandlerTransaction, type MemoryTransactionParts } from './memory-batch.ts'
import { byPlace, keyLock } from './memory-consumer-tables.ts'
import { blockIfDead, endLetters, isHead, isLeased } from './memory-parked.ts'

/** What a try has done of a key. */
interface DoneOfKey {
  readonly key: LeasedKey
  /** Base64. */
  readonly name: string
  readonly offsets: readonly number[]
}

/** A retrier's transaction in memory, with the steps and the locks of the one in Postgres. */
export class MemoryRetry extends MemoryHandlerTransaction implements RetryTransaction {
  readonly #keys: readonly LeasedKey[]

  constructor(parts: MemoryTransactionParts, keys: readonly LeasedKey[]) {
    super(parts, keys[0]!.partition.group)
    this.#keys = keys
  }

  async commit({ done, handled, publish }: RetryEnd): Promise<RetryOutcome> {
    const { database, tables, standstillMs } = this.parts
    const ends = this.#ends(done)
    const refusal = await this.end<'moved' | 'duplicate'>(publish, async () => {
      await database.step('lock keys', this.tx)
      for (const { key, name } of ends) await this.tx.lock(keyLock(key.partition, name))
      this.tx.limitStandstill(standstillMs)
      if (!ends.every(({ key }) => isLeased(tables, key))) return 'moved'
      await database.step('heads', this.tx)
      if (!ends.every(({ key, offsets }) => isHead(tables, key, offsets))) return 'moved'
      this.tx.stage(() => {
        for (const { key, name, offsets } of ends) {
          endLetters(tables, key, offsets, database.clock.now())
          tables.remove(key.partition, name, offsets)
          blockIfDead(tables, key.partition, name)
        }
      })
      return this.remember(handled)
    })
    return refusal === null ? { outcome: 'committed' } : { outcome: refusal }
  }

  /** Of keys of which something is done, in the order in which all lock them. */
  #ends(done: readonly number[]): readonly DoneOfKey[] {
    return this.#keys
      .map((key, i) => ({
        key,
        name: key.key.toString('base64'),
        offsets: key.messages.slice(0, done[i]).map(({ record }) => record.offset),
      }))
      .filter(({ offsets }) => offsets.length > 0)
      .sort((a, b) => byPlace(a.key.partition, b.key.partition) || (a.name < b.name ? -1 : 1))
  }
}
