import type { AssignedPartition, Topic, TopicPartition } from '../../../message/port.ts'

/** The topics as a member last saw them. */
export class TopicView {
  readonly #topics = new Map<string, Topic>()

  /** What was found when these names were asked for; the others stay as they were. */
  see(asked: readonly string[], found: readonly Topic[]): void {
    for (const name of asked) this.#topics.delete(name)
    for (const topic of found) this.#topics.set(topic.name, topic)
  }

  /** Is its topic there, and still the same one? */
  has({ topic, topicId, partition }: AssignedPartition): boolean {
    const now = this.#topics.get(topic)
    return now !== undefined && now.id === topicId && partition < now.partitions
  }

  /** The partition with the id its topic has now; `null` where there is none. */
  byName({ topic, partition }: TopicPartition): AssignedPartition | null {
    const now = this.#topics.get(topic)
    return now === undefined || partition >= now.partitions ? null : { topic, topicId: now.id, partition }
  }

  /** The partition of the topic with this id; `null` where it is not, or not any more. */
  byId(topicId: string, partition: number): AssignedPartition | null {
    for (const { name, id } of this.#topics.values()) if (id === topicId) return { topic: name, topicId, partition }
    return null
  }

  partitionCounts(names: readonly string[]): ReadonlyMap<string, number> {
    const found = names.flatMap((name) => this.#topics.get(name) ?? [])
    return new Map(found.map(({ name, partitions }) => [name, partitions]))
  }

  /** Equal for equal topics: ids and numbers of partitions. */
  signature(names: readonly string[]): string {
    return JSON.stringify(names.toSorted().map((name) => this.#topics.get(name) ?? name))
  }
}
