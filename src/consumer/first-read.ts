import { TidemarkError } from '../errors.ts'
import type { Topic } from '../message/port.ts'
import type { ConsumerSettings } from './consumer-options.ts'
import type { PartitionPosition } from './port.ts'

/** Knows the topics of a consumer, and gives their partitions positions where they have none. */
export class FirstRead {
  readonly #settings: ConsumerSettings
  readonly #topics = new Map<string, Topic>()

  constructor(settings: ConsumerSettings) {
    this.#settings = settings
  }

  /** The topic as it was when the consumer started. */
  topic(name: string): Topic | undefined {
    return this.#topics.get(name)
  }

  /** Describes the topics and makes what positions are missing. Rejects with `TOPIC_MISMATCH` for a topic that was made anew. */
  async prepare(names: readonly string[]): Promise<void> {
    const topics = await this.#settings.broker.topics(names.map((name) => ({ name })))
    const positions = await this.#settings.store.positions(this.#settings.group)
    for (const topic of topics) {
      this.#requireSame(
        topic,
        this.#topics.get(topic.name)?.id ?? positions.find((one) => one.topic === topic.name && one.topicId !== topic.id)?.topicId,
      )
      this.#topics.set(topic.name, topic)
      if (lacksPartitions(topic, positions)) await this.#makePositions(topic)
    }
  }

  /** Is this still the topic we began with? */
  async check(name: string): Promise<void> {
    const [topic] = await this.#settings.broker.topics([{ name }])
    this.#requireSame(topic!, this.#topics.get(name)?.id)
  }

  async #makePositions(topic: Topic): Promise<void> {
    const { broker, store, group, lanes, startFrom } = this.#settings
    const later = await broker.offsets(topic.name, 'earliest')
    const first = startFrom === 'earliest' ? later : await broker.offsets(topic.name, startFrom)
    await store.makePositions({ topic: { group, topic: topic.name, topicId: topic.id }, lanes, first, later })
  }

  #requireSame(topic: Topic, known: string | undefined): void {
    if (known === undefined || known === topic.id) return
    const { group } = this.#settings
    throw new TidemarkError(
      'TOPIC_MISMATCH',
      `The topic ${topic.name} was deleted and made again: group "${group}" has positions in ${known}, the broker has ${topic.id}.`,
      {
        details: { group, topic: topic.name, known, found: topic.id },
        remedy:
          'What the old topic held beyond these positions is lost to the group. To begin with the new one, delete its old rows from consumer_position.',
      },
    )
  }
}

function lacksPartitions(topic: Topic, positions: readonly PartitionPosition[]): boolean {
  const there = positions.filter(({ topicId }) => topicId === topic.id)
  return Array.from({ length: topic.partitions }, (_, partition) => partition).some((n) => !there.some(({ partition }) => partition === n))
}
