import { balance } from '../../../message/group/balance.ts'
import type { TopicPartition } from '../../../message/port.ts'

/** A member as the leader knows it when it shares out the partitions. */
export interface Claimant {
  readonly id: string
  readonly topics: readonly string[]
  /** What it says it owns, and the generation in which it came to own it. */
  readonly owned: readonly TopicPartition[]
  readonly generation: number
}

/**
 * Who gets what, by member id. Each member keeps what it has as far as that is even; partitions go to members that name their topic only. A
 * partition that changes hands is given to nobody while any other member still claims it: its owner gives it up on this assignment and joins
 * again, and the next one hands it out (KIP-429).
 *
 * Of several claims of one partition that of the highest generation counts, since a member whose claim is older has missed that it lost it.
 * Two of the same generation contradict each other: neither counts, and both members have to give it up. Deterministic.
 */
export function assign(
  members: readonly Claimant[],
  partitionCounts: ReadonlyMap<string, number>,
): ReadonlyMap<string, readonly TopicPartition[]> {
  const inOrder = members.toSorted((a, b) => (a.id < b.id ? -1 : 1))
  const claims = claimsByPartition(inOrder)
  const placed = [...partitionCounts]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([topic, count]) =>
      Array.from({ length: count }, (_, partition) => {
        const claim = claims.get(nameOf({ topic, partition }))
        return { topic, partition, owner: claim?.owner ?? null, target: claim?.owner ?? null, claimed: claim !== undefined }
      }),
    )
  const targets = balance(inOrder, placed)
  const shares = new Map(inOrder.map(({ id }): [string, TopicPartition[]] => [id, []]))
  placed.forEach(({ topic, partition, owner, claimed }, place) => {
    const target = targets[place]!
    if (target !== null && (!claimed || owner === target)) shares.get(target)!.push({ topic, partition })
  })
  return shares
}

interface Claim {
  readonly generation: number
  /** `null`: two members claim it with the same right. */
  readonly owner: string | null
}

function claimsByPartition(members: readonly Claimant[]): ReadonlyMap<string, Claim> {
  const claims = new Map<string, Claim>()
  for (const { id, owned, generation } of members) {
    for (const one of new Set(owned.map(nameOf))) {
      const best = claims.get(one)
      if (best === undefined || generation > best.generation) claims.set(one, { generation, owner: id })
      else if (generation === best.generation) claims.set(one, { generation, owner: null })
    }
  }
  return claims
}

/** As people write it; also what a partition is known by where topics are known by name. */
export function nameOf({ topic, partition }: TopicPartition): string {
  return `${topic}/${partition}`
}
