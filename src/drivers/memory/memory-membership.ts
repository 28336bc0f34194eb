import { brokerClosed } from '../../message/broker-error.ts'
import type { GroupMember } from '../../message/group/group-member.ts'
import type { Fetched, FetchOptions, FetchPosition, Membership } from '../../message/port.ts'
import type { MemoryLog } from './memory-log.ts'
import { MemoryReader } from './memory-reader.ts'

export interface MemoryMembershipParts {
  readonly log: MemoryLog
  readonly group: string
  readonly member: GroupMember
  /** Called once, when the membership is over. */
  readonly ended: () => void
}

/** A member of a group that reads from memory. */
export class MemoryMembership implements Membership {
  readonly #parts: MemoryMembershipParts
  readonly #reader: MemoryReader
  #closed = false
  #left: Promise<void> | null = null

  constructor(parts: MemoryMembershipParts) {
    this.#parts = parts
    this.#reader = new MemoryReader(parts.log, 'membership')
  }

  fetch(from: readonly FetchPosition[], options: FetchOptions): Promise<readonly Fetched[]> {
    return this.#reader.fetch(from, options)
  }

  async commit(offsets: readonly FetchPosition[]): Promise<void> {
    if (this.#closed) throw brokerClosed('membership')
    this.#parts.log.noteOffsets(this.#parts.group, offsets)
  }

  leave(): Promise<void> {
    this.#left ??= this.#parts.member.leave().then(() => this.#end())
    return this.#left
  }

  /** Ends without leaving the group. */
  abandon(): void {
    this.#parts.member.end()
    this.#end()
  }

  #end(): void {
    this.#closed = true
    void this.#reader.close()
    this.#parts.ended()
  }
}
