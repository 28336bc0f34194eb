import type { AssignedPartition, Topic, TopicPartition } from '../../../message/port.ts'
import type { Claimant } from './assignor.ts'
import type { Subscription } from './consumer-protocol.ts'

/** What a member asks of the cluster. What is the same in all requests of a membership (group, topics, times) is left out. */
export type GroupRequest =
  | ({ readonly api: 'join'; readonly memberId: string } & Subscription)
  | {
      readonly api: 'sync'
      readonly memberId: string
      readonly generation: number
      readonly shares: ReadonlyMap<string, readonly TopicPartition[]>
    }
  | { readonly api: 'heartbeat'; readonly memberId: string; readonly generation: number }
  | { readonly api: 'leave'; readonly memberId: string }
  | {
      readonly api: 'consumer-heartbeat'
      readonly memberId: string
      readonly memberEpoch: number
      readonly owned: readonly AssignedPartition[]
    }
  | { readonly api: 'describe'; readonly names: readonly string[] }

/** The replies. `error` is Kafka's code, 0 for none; what else a reply holds means something only then, but for a member id that is required. */
export type GroupReply =
  | {
      readonly api: 'join'
      readonly error: number
      readonly memberId: string
      readonly generation: number
      /** For the member that is to share out the partitions; `null` for the others. */
      readonly members: readonly Claimant[] | null
    }
  | { readonly api: 'sync'; readonly error: number; readonly partitions: readonly TopicPartition[] }
  | { readonly api: 'heartbeat' | 'leave'; readonly error: number }
  | {
      readonly api: 'consumer-heartbeat'
      readonly error: number
      readonly said: string | null
      readonly memberEpoch: number
      readonly intervalMs: number
      /** `null`: as before. */
      readonly assignment: readonly TopicShare[] | null
    }
  | { readonly api: 'describe'; readonly topics: readonly Topic[] }

/** Partitions of a topic that is known by its id. */
export interface TopicShare {
  readonly topicId: string
  readonly partitions: readonly number[]
}
