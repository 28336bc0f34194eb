import { TidemarkError } from '../../../errors.ts'
import { type Clock, pause } from '../../../internal/clock.ts'
import { topicUnknown } from '../../../message/broker-error.ts'
import { listOffsetsV7 } from '../client.ts'
import type { Cluster, ClusterTopic } from '../wire/cluster.ts'
import type { Node } from '../wire/node.ts'
import { errorName, protocolError } from '../wire/protocol-error.ts'

const latest = -1n
const earliest = -2n
/** Only what is not part of an open transaction counts as the end. */
const readCommitted = 1
/** An election takes a moment; after so long the caller should hear of it. */
const patienceMs = 10_000

export type OffsetsAt = 'earliest' | 'latest' | Date

/**
 * For each of the partitions an offset: the first kept, the one after the last, or the first not older than a time (the end where there is none).
 * Waits some seconds for partitions without a leader. Rejects with `TOPIC_UNKNOWN` or `BROKER_UNREACHABLE`.
 */
export async function listOffsets(
  cluster: Cluster,
  clock: Clock,
  topic: string,
  at: OffsetsAt,
  only?: readonly number[],
): Promise<ReadonlyMap<number, number>> {
  const found = new Map<number, number>()
  const until = clock.elapsed() + patienceMs
  for (;;) {
    const [now] = await cluster.describe([topic])
    if (now === undefined) throw topicUnknown(topic)
    const wanted = (only ?? now.partitions.map((_, partition) => partition)).filter((partition) => !found.has(partition))
    const trouble = await ask(cluster, now, at, wanted, found)
    if (trouble === null) break
    if (clock.elapsed() >= until) throw trouble
    await pause(clock, 50)
  }
  const none = [...found].filter(([, offset]) => offset < 0).map(([partition]) => partition)
  if (none.length > 0)
    for (const [partition, offset] of await listOffsets(cluster, clock, topic, 'latest', none)) found.set(partition, offset)
  return found
}

/** What could not be answered yet, as an error. */
async function ask(
  cluster: Cluster,
  topic: ClusterTopic,
  at: OffsetsAt,
  partitions: readonly number[],
  found: Map<number, number>,
): Promise<TidemarkError | null> {
  const byLeader = new Map<Node, number[]>()
  let trouble: TidemarkError | null = null
  for (const partition of partitions) {
    const leader = topic.partitions[partition]?.leader ?? null
    if (leader === null)
      trouble = new TidemarkError('BROKER_UNREACHABLE', `Partition ${partition} of ${topic.name} has no leader at the moment.`)
    else byLeader.set(leader, [...(byLeader.get(leader) ?? []), partition])
  }
  const timestamp = at === 'latest' ? latest : at === 'earliest' ? earliest : BigInt(at.getTime())
  await Promise.all(
    [...byLeader].map(async ([leader, mine]) => {
      const request = [
        { name: topic.name, partitions: mine.map((partitionIndex) => ({ partitionIndex, currentLeaderEpoch: -1, timestamp })) },
      ]
      try {
        const reply = await cluster.call(leader, listOffsetsV7.api, [-1, readCommitted, request])
        for (const { partitionIndex, errorCode, offset } of reply.topics.flatMap((one) => one.partitions)) {
          if (errorCode === 0) found.set(partitionIndex, Number(offset))
          else trouble = answer(errorCode, topic.name)
        }
      } catch (error) {
        if (!TidemarkError.is(error, 'BROKER_UNREACHABLE')) throw error
        trouble = error
      }
    }),
  )
  return trouble
}

function answer(code: number, topic: string): TidemarkError {
  const error = protocolError(code, `to list offsets of the topic "${topic}"`)
  // The broker may not have heard of a new topic yet; whether it exists is for the next look to say.
  if (error.retryable || errorName(code) === 'UNKNOWN_TOPIC_OR_PARTITION') return new TidemarkError('BROKER_UNREACHABLE', error.message)
  throw error
}
