import { TidemarkError } from '../../errors.ts'
import { brokerClosed } from '../../message/broker-error.ts'
import type { Fetched, FetchOptions, FetchPosition, Membership } from '../../message/port.ts'
import { offsetCommitV9 } from './client.ts'
import type { KafkaGroupMember } from './group/kafka-group-member.ts'
import type { LogReader } from './read/log-reader.ts'
import type { Cluster } from './wire/cluster.ts'
import { errorName, protocolError } from './wire/protocol-error.ts'

export interface KafkaMembershipParts {
  readonly cluster: Cluster
  readonly group: string
  readonly member: KafkaGroupMember
  readonly reader: LogReader
  /** Called once, when the membership is over. */
  readonly ended: () => void
}

/** The group has moved on since: nothing was noted, and the caller should tell again once it knows what it still has. */
const outdated: ReadonlySet<string> = new Set([
  'ILLEGAL_GENERATION',
  'UNKNOWN_MEMBER_ID',
  'REBALANCE_IN_PROGRESS',
  'STALE_MEMBER_EPOCH',
  'FENCED_MEMBER_EPOCH',
])
const moved: ReadonlySet<string> = new Set(['NOT_COORDINATOR', 'COORDINATOR_NOT_AVAILABLE', 'COORDINATOR_LOAD_IN_PROGRESS'])

/** A member of a Kafka group. What it reads is independent of what it was assigned. */
export class KafkaMembership implements Membership {
  readonly #parts: KafkaMembershipParts
  #closed = false
  #left: Promise<void> | null = null

  constructor(parts: KafkaMembershipParts) {
    this.#parts = parts
  }

  async fetch(from: readonly FetchPosition[], options: FetchOptions): Promise<readonly Fetched[]> {
    if (this.#closed) throw brokerClosed('membership')
    return this.#parts.reader.fetch(from, options)
  }

  async commit(offsets: readonly FetchPosition[]): Promise<void> {
    if (this.#closed) throw brokerClosed('membership')
    const identity = this.#parts.member.identity()
    if (offsets.length === 0) return
    const { cluster, group } = this.#parts
    if (identity === null) throw movedOn(group, 'this process is not a member at the moment')
    const topics = new Map<string, FetchPosition[]>()
    for (const position of offsets) topics.set(position.topic, [...(topics.get(position.topic) ?? []), position])
    const request = [...topics].map(([name, mine]) => ({
      name,
      partitions: mine.map(({ partition, offset }) => ({
        partitionIndex: partition,
        committedOffset: BigInt(offset),
        committedLeaderEpoch: -1,
        committedMetadata: null,
      })),
    }))
    const coordinator = await cluster.coordinator('group', group)
    const { generation, memberId } = identity
    const reply = await cluster
      .call(coordinator, offsetCommitV9.api, [group, generation, memberId, null, request])
      .catch((error: unknown) => {
        if (TidemarkError.is(error, 'BROKER_UNREACHABLE')) cluster.forgetCoordinator('group', group)
        throw error
      })
    const code = reply.topics.flatMap(({ partitions }) => partitions).find(({ errorCode }) => errorCode !== 0)?.errorCode ?? 0
    if (moved.has(errorName(code))) cluster.forgetCoordinator('group', group)
    if (outdated.has(errorName(code))) throw movedOn(group, errorName(code))
    if (code !== 0) throw protocolError(code, `to note offsets of the group "${group}"`)
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
    if (this.#closed) return
    this.#closed = true
    void this.#parts.reader.close()
    this.#parts.ended()
  }
}

function movedOn(group: string, why: string): TidemarkError {
  return new TidemarkError('GROUP_FENCED', `The group "${group}" shares out its partitions anew, and noted no offsets: ${why}.`)
}
