import type { AuditEntry } from '../../operation/audit.ts'

/**
 * What a hold of a key needs of the service's database. It is a redrive of nothing: the lanes' positions are locked and their `holds` raised, then the key's
 * rows are made or locked. Lock order as everywhere; see `docs/design/consumer.md`.
 *
 * @module
 */

/** A key of a topic, as one consumer group reads it. */
export interface GroupKey {
  readonly group: string
  readonly topic: string
  /** Wire bytes. */
  readonly key: Buffer
}

/** A key that somebody holds. */
export interface HeldKey extends GroupKey {
  /** Where it is held; rising. */
  readonly partitions: readonly number[]
  readonly by: string
  /** By the database's clock. */
  readonly since: Date
  readonly reason: string | null
  /** Messages that wait, those behind a dead letter included. */
  readonly messages: number
}

export interface HoldChange {
  /** Who is noted as the one who holds it. */
  readonly by: string
  readonly reason: string | null
  /** Lines of the audit log that are stored in the same transaction. */
  readonly audit: readonly AuditEntry[]
}

export interface KeyHolds {
  /**
   * Holds a key in every partition of the topic in which the group has a position, in one transaction. What commits later runs none of its messages: no batch,
   * and no retrier, whose lease is taken away. A hold that is there stays whose it is. Returns it as it is then; `null`: the group has no position in the topic.
   */
  hold(key: GroupKey, change: HoldChange): Promise<HeldKey | null>

  /** Ends the hold everywhere: what waits is due at once, unless its head is dead. `false`: nobody held it, and no line is stored. */
  release(key: GroupKey, change: Pick<HoldChange, 'audit'>): Promise<boolean>

  /** All keys that are held, of one group or of all; oldest hold first. */
  held(group?: string): Promise<readonly HeldKey[]>
}
