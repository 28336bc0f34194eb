/** A member that may read some topics. */
export interface Candidate {
  readonly id: string
  readonly topics: readonly string[]
}

/** A partition and who was to read it so far. */
export interface Placed {
  readonly topic: string
  readonly owner: string | null
  readonly target: string | null
}

/**
 * Who is to read what: as even as the members' topics allow, with as few moves as that takes. Deterministic: the order of members and partitions
 * decides ties. Returns the new target of each partition, by place; `null` where no member reads the topic.
 *
 * ```ts
 * balance([{ id: 'a', topics: ['t'] }, { id: 'b', topics: ['t'] }], twoPartitionsOfA) // ['b', 'a']
 * ```
 */
export function balance(members: readonly Candidate[], partitions: readonly Placed[]): (string | null)[] {
  const load = new Map(members.map((member) => [member.id, 0]))
  const readers = new Map<string, Candidate[]>()
  for (const { topic } of partitions) {
    if (!readers.has(topic))
      readers.set(
        topic,
        members.filter((member) => member.topics.includes(topic)),
      )
  }
  const targets = partitions.map(({ topic, target }) => (readers.get(topic)!.some(({ id }) => id === target) ? target : null))
  const give = (place: number, id: string): void => {
    const before = targets[place]!
    if (before !== null) load.set(before, load.get(before)! - 1)
    targets[place] = id
    load.set(id, load.get(id)! + 1)
  }
  for (const target of targets) if (target !== null) load.set(target, load.get(target)! + 1)
  const idlest = (topic: string): string | undefined =>
    readers
      .get(topic)!
      .reduce<string | undefined>((best, { id }) => (best === undefined || load.get(id)! < load.get(best)! ? id : best), undefined)

  partitions.forEach(({ topic, owner }, place) => {
    if (targets[place] !== null) return
    const least = idlest(topic)
    if (least === undefined) return
    // Nothing has to move where the present owner is as idle as anybody.
    const stays = owner !== null && load.get(owner) === load.get(least) && readers.get(topic)!.some(({ id }) => id === owner)
    give(place, stays ? owner : least)
  })

  for (;;) {
    const move = bestMove(partitions, targets, load, idlest)
    if (move === null) return targets
    give(move.place, move.to)
  }
}

/** The move that evens out most; of equal ones, one of a partition that its target has not begun to read. */
function bestMove(
  partitions: readonly Placed[],
  targets: readonly (string | null)[],
  load: ReadonlyMap<string, number>,
  idlest: (topic: string) => string | undefined,
): { place: number; to: string } | null {
  let best: { place: number; to: string; gain: number } | null = null
  const receivers = new Map([...new Set(partitions.map(({ topic }) => topic))].map((topic) => [topic, idlest(topic)]))
  partitions.forEach(({ topic, owner }, place) => {
    const from = targets[place]
    const to = receivers.get(topic)
    if (from === null || from === undefined || to === undefined) return
    const difference = load.get(from)! - load.get(to)!
    if (difference < 2) return
    const gain = difference + (owner === from ? 0 : 0.5)
    if (best === null || gain > best.gain) best = { place, to, gain }
  })
  return best
}
