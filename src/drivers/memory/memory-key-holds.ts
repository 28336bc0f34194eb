import type { GroupKey, HeldKey, HoldChange, KeyHolds } from '../../consumer/hold/port.ts'
import { laneOf } from '../../consumer/partition/lane-of.ts'
import type { AuditEntry } from '../../operation/audit.ts'
import { laneLock } from './memory-batch.ts'
import { type MemoryConsumerTables, type MemoryPartition, byPlace, keyLock } from './memory-consumer-tables.ts'
import type { MemoryDatabase } from './memory-database.ts'
import { blockIfDead } from './memory-parked.ts'
import type { MemoryTransaction } from './memory-transaction.ts'

/** Keys that somebody holds in a memory database, with the locks of the one in Postgres. */
export class MemoryKeyHolds implements KeyHolds {
  readonly #database: MemoryDatabase
  readonly #tables: MemoryConsumerTables

  constructor(database: MemoryDatabase, tables: MemoryConsumerTables) {
    this.#database = database
    this.#tables = tables
  }

  async hold(key: GroupKey, change: HoldChange): Promise<HeldKey | null> {
    for (;;) {
      const partitions = this.#partitionsOf(key).map((partition) => ({ partition, lanes: partition.lanes.length }))
      if (partitions.length === 0) return null
      const outcome = await this.#database.transaction((tx) => this.#holdIn(tx, partitions, key, change))
      if (outcome !== 'lanes-changed') return outcome()
    }
  }

  async #holdIn(
    tx: MemoryTransaction,
    places: readonly { readonly partition: MemoryPartition; readonly lanes: number }[],
    groupKey: GroupKey,
    { by, reason, audit }: HoldChange,
  ): Promise<(() => HeldKey) | 'lanes-changed'> {
    const { key } = groupKey
    const name = key.toString('base64')
    let after: HeldKey | null = null
    for (const { partition, lanes } of places) await tx.lock(laneLock({ ...partition.ref, lane: laneOf(key, 0, lanes) }))
    await this.#database.step('hold: keys', tx)
    if (places.some(({ partition, lanes }) => partition.lanes.length !== lanes)) return 'lanes-changed'
    for (const { partition } of places) await tx.lock(keyLock(partition.ref, name))
    await this.#database.step('hold: rows', tx)
    for (const { partition, lanes } of places) {
      tx.stage(() => {
        const { ref, parked, held } = partition
        this.#tables.hold({ ...ref, lane: laneOf(key, 0, lanes) }, [name])
        parked.set(name, parked.get(name) ?? [])
        this.#tables.note(ref, name, { lease: null, leaseUntil: 0 })
        if (!held.has(name)) held.set(name, { by, reason, since: new Date(this.#database.clock.now()) })
      })
    }
    tx.stage(() => void (after = this.#heldKeys().find((one) => isSame(one, groupKey))!))
    this.#noteLines(tx, audit)
    return () => after!
  }

  release(key: GroupKey, { audit }: Pick<HoldChange, 'audit'>): Promise<boolean> {
    const name = key.key.toString('base64')
    return this.#database.transaction(async (tx) => {
      const partitions = this.#partitionsOf(key).filter(({ held }) => held.has(name))
      for (const { ref } of partitions) await tx.lock(keyLock(ref, name))
      await this.#database.step('release: rows', tx)
      const still = partitions.filter(({ held }) => held.has(name))
      if (still.length === 0) return false
      for (const { ref, held } of still) {
        tx.stage(() => {
          held.delete(name)
          this.#tables.note(ref, name, { nextAttemptAt: this.#database.clock.now() })
          blockIfDead(this.#tables, ref, name)
          this.#tables.dropIfEmpty(ref, name)
        })
      }
      this.#noteLines(tx, audit)
      return true
    })
  }

  async held(group?: string): Promise<readonly HeldKey[]> {
    return this.#heldKeys().filter((one) => group === undefined || one.group === group)
  }

  /** Those of the partitions of a group and topic are one. */
  #heldKeys(): readonly HeldKey[] {
    const found: HeldKey[] = []
    for (const { ref, parked, held } of this.#inOrder()) {
      for (const [name, { by, since, reason }] of held) {
        const one = { group: ref.group, topic: ref.topic, key: Buffer.from(name, 'base64') }
        const place = { partitions: [ref.partition], messages: parked.get(name)?.length ?? 0 }
        const before = found.findIndex((other) => isSame(other, one))
        if (before === -1) found.push({ ...one, ...place, by, since, reason })
        else found[before] = joined(found[before]!, { ...one, ...place, by, since, reason })
      }
    }
    return found.sort((a, b) => a.since.getTime() - b.since.getTime())
  }

  /** In the order of their locks. */
  #partitionsOf({ group, topic }: GroupKey): readonly MemoryPartition[] {
    return this.#inOrder().filter(({ ref }) => ref.group === group && ref.topic === topic)
  }

  #inOrder(): readonly MemoryPartition[] {
    return [...this.#tables.partitions.values()].sort((a, b) => byPlace(a.ref, b.ref))
  }

  #noteLines(tx: MemoryTransaction, audit: readonly AuditEntry[]): void {
    if (audit.length > 0) tx.stage(() => audit.forEach((line) => this.#database.auditLog.record(line)))
  }
}

function isSame(a: GroupKey, b: GroupKey): boolean {
  return a.group === b.group && a.topic === b.topic && a.key.equals(b.key)
}

/** Whose it is, is who came first. */
function joined(a: HeldKey, b: HeldKey): HeldKey {
  const first = b.since < a.since ? b : a
  const partitions = [...new Set([...a.partitions, ...b.partitions])].sort((x, y) => x - y)
  return { ...first, partitions, messages: a.messages + b.messages }
}
