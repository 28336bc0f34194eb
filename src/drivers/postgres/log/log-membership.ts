import { brokerClosed } from '../../../message/broker-error.ts'
import type { GroupMember } from '../../../message/group/group-member.ts'
import type { Fetched, FetchOptions, FetchPosition, Membership } from '../../../message/port.ts'
import { noteOffsets } from '../queries/log-fetch.ts'
import type { LogReader } from './log-reader.ts'
import type { LogStore } from './log-store.ts'
import type { TopicDirectory } from './topic-directory.ts'

export interface LogMembershipParts {
  readonly store: LogStore
  readonly directory: TopicDirectory
  readonly reader: LogReader
  readonly member: GroupMember
  readonly group: string
  /** Called once, when the membership is over. */
  readonly ended: () => void
}

/** A member of a group: what it is assigned comes by its `GroupMember`, what it reads by a `LogReader`. */
export class LogMembership implements Membership {
  readonly #parts: LogMembershipParts
  readonly #closing = new AbortController()
  #left: Promise<void> | null = null

  constructor(parts: LogMembershipParts) {
    this.#parts = parts
  }

  /** Looks at the group now, because another member in this process changed it. */
  poke(): void {
    this.#parts.member.poke()
  }

  async fetch(from: readonly FetchPosition[], options: FetchOptions): Promise<readonly Fetched[]> {
    if (this.#closing.signal.aborted) throw brokerClosed('membership')
    const signal = options.signal === undefined ? this.#closing.signal : AbortSignal.any([options.signal, this.#closing.signal])
    return this.#parts.reader.fetch(from, { ...options, signal })
  }

  async commit(offsets: readonly FetchPosition[]): Promise<void> {
    if (this.#closing.signal.aborted) throw brokerClosed('membership')
    if (offsets.length === 0) return
    const { store, directory, group } = this.#parts
    const topics = await directory.find(offsets.map(({ topic }) => topic))
    const rows = offsets.map(({ topic, partition, offset }) => ({ key: topics.get(topic)!.key, partition, offset }))
    await store.use((session, schema) => noteOffsets(session, schema, group, rows))
  }

  leave(): Promise<void> {
    this.#left ??= this.#leave()
    return this.#left
  }

  /** Ends without leaving the group. */
  abandon(): void {
    this.#closing.abort()
    this.#parts.member.end()
    this.#parts.ended()
  }

  async #leave(): Promise<void> {
    await this.#parts.member.leave()
    this.#closing.abort()
    this.#parts.ended()
  }
}
