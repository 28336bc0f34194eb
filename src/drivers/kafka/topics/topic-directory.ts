import { noSuchPartition, topicMadeAnew, topicUnknown } from '../../../message/broker-error.ts'
import type { Cluster, ClusterTopic } from '../wire/cluster.ts'
import type { Node } from '../wire/node.ts'

/** What is known of topics, by name, until somebody finds it wrong. Shared by the parts of one broker. */
export class TopicDirectory {
  readonly #cluster: Pick<Cluster, 'describe'>
  readonly #topics = new Map<string, ClusterTopic>()

  constructor(cluster: Pick<Cluster, 'describe'>) {
    this.#cluster = cluster
  }

  learn(topics: readonly ClusterTopic[]): void {
    for (const topic of topics) this.#topics.set(topic.name, topic)
  }

  forget(name: string): void {
    this.#topics.delete(name)
  }

  /** All of them as they are known now, asked for where they are not. Rejects with `TOPIC_UNKNOWN`. */
  async find(names: Iterable<string>): Promise<ReadonlyMap<string, ClusterTopic>> {
    // Of its own: whoever shares this directory may find a topic wrong before the caller goes on.
    const found = new Map<string, ClusterTopic>()
    const missing: string[] = []
    for (const name of new Set(names)) {
      const known = this.#topics.get(name)
      if (known === undefined) missing.push(name)
      else found.set(name, known)
    }
    if (missing.length > 0) {
      const topics = await this.#cluster.describe(missing)
      this.learn(topics)
      for (const topic of topics) found.set(topic.name, topic)
    }
    for (const name of missing) if (!found.has(name)) throw topicUnknown(name)
    return found
  }

  /**
   * The topic of a position, looked up again where what is known does not fit it. Rejects with `TOPIC_UNKNOWN`, and with `TOPIC_MISMATCH` for another
   * id or a partition it does not have.
   */
  async of(place: { readonly topic: string; readonly partition: number; readonly topicId?: string }): Promise<ClusterTopic> {
    const known = this.#topics.get(place.topic) ?? (await this.find([place.topic])).get(place.topic)!
    if (fits(known, place)) return known
    this.forget(place.topic)
    const topic = (await this.find([place.topic])).get(place.topic)!
    if (fits(topic, place)) return topic
    const { name, id, partitions } = topic
    if (place.topicId !== undefined && place.topicId !== id) throw topicMadeAnew({ name, id, partitions: partitions.length }, place.topicId)
    throw noSuchPartition({ name, id, partitions: partitions.length }, place.partition)
  }

  /** Who leads the partition, as far as is known. */
  leader(topic: string, partition: number): Node | null {
    return this.#topics.get(topic)?.partitions[partition]?.leader ?? null
  }
}

function fits(topic: ClusterTopic, { topicId, partition }: { readonly topicId?: string; readonly partition: number }): boolean {
  return (topicId === undefined || topicId === topic.id) && partition >= 0 && partition < topic.partitions.length
}
