import { TidemarkError } from '../../errors.ts'
import type { Topic } from '../../message/port.ts'
import type { ConsumerSettings } from '../consumer-options.ts'
import { firstOffsets } from './first-offsets.ts'
import { madeAgain } from './lost-place.ts'
import type { FirstPositions, PartitionPosition } from '../port.ts'

/** Knows the topics of a consumer, and gives their partitions positions where they have none. */
export class FirstRead {
  readonly #settings: ConsumerSettings
  readonly #topics = new Map<string, Topic>()

  constructor(settings: ConsumerSettings) {
    this.#settings = settings
  }

  /** The topic as it was when the consumer started, or as it was last prepared. */
  topic(name: string): Topic | undefined {
    return this.#topics.get(name)
  }

  /**
   * Describes the topics and makes what positions are missing. Rejects with `TOPIC_MISMATCH` for a topic that was made anew, and for one that
   * has more partitions than this group has positions, unless `addedPartitions` allows it; and as `firstOffsets` does.
   */
  async prepare(names: readonly string[]): Promise<void> {
    const topics = await this.#settings.broker.topics(names.map((name) => ({ name })))
    const positions = await this.#settings.store.positions(this.#settings.group)
    const missing: FirstPositions[] = []
    for (const topic of topics) {
      this.#requireSame(
        topic,
        this.#topics.get(topic.name)?.id ?? positions.find((one) => one.topic === topic.name && one.topicId !== topic.id)?.topicId,
      )
      this.#topics.set(topic.name, topic)
      const there = positions.filter(({ topicId }) => topicId === topic.id)
      if (lacksPartitions(topic, there) && this.#mayRead(topic, there.length))
        missing.push(await this.#firstPositions(topic, there.length > 0))
    }
    // Only when all can be made: a group that is refused for one topic must not have adopted another one's offsets, which may move on before
    // the next try.
    for (const first of missing) await this.#settings.store.makePositions(first)
  }

  /** Is this still the topic we began with? */
  async check(name: string): Promise<void> {
    const [topic] = await this.#settings.broker.topics([{ name }])
    this.#requireSame(topic!, this.#topics.get(name)?.id)
  }

  async #firstPositions(topic: Topic, seen: boolean): Promise<FirstPositions> {
    const { broker, group, lanes, retryTopics } = this.#settings
    // What waits in a retry topic is the group's own.
    const startFrom = retryTopics.tier(topic.name) === undefined ? this.#settings.startFrom : 'earliest'
    const later = await broker.offsets(topic.name, 'earliest')
    const first = seen ? later : await firstOffsets({ broker, group, startFrom, topic: topic.name, earliest: later })
    return { topic: { group, topic: topic.name, topicId: topic.id }, lanes, first, later }
  }

  /** May the partitions without a position have one now? Those of a topic that was never read may. */
  #mayRead({ name, partitions }: Topic, positions: number): boolean {
    const { group, addedPartitions, retryTopics } = this.#settings
    const hasOrder = retryTopics.tier(name) === undefined
    if (positions === 0 || !hasOrder || addedPartitions === 'read') return true
    if (addedPartitions === 'wait') return false
    throw new TidemarkError(
      'TOPIC_MISMATCH',
      `The topic ${name} has ${partitions} partitions now, and group "${group}" has positions in ${positions}.`,
      {
        details: { group, topic: name, partitions, positions },
        remedy:
          "Most keys are in another partition than before, and what is new there must not be handled before what is old elsewhere. Stop the senders, start the group with addedPartitions: 'wait' until it has handled the old partitions to their ends, then start it with addedPartitions: 'read', then the senders. Where the order of a key does not matter, 'read' will do.",
      },
    )
  }

  #requireSame(topic: Topic, known: string | undefined): void {
    if (known === undefined || known === topic.id) return
    throw madeAgain({ group: this.#settings.group, topic: topic.name, topicId: known }, topic.id)
  }
}

function lacksPartitions(topic: Topic, positions: readonly PartitionPosition[]): boolean {
  return Array.from({ length: topic.partitions }, (_, partition) => partition).some(
    (n) => !positions.some(({ partition }) => partition === n),
  )
}
