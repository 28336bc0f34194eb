import type { AssignedPartition, Topic } from '../../../../src/message/port.ts'

/** The topics of the simulated cluster. */
export class ModelTopics {
  readonly #topics = new Map<string, Topic>()
  readonly #listeners: (() => void)[] = []
  #made = 0

  create(name: string, partitions: number): void {
    this.#topics.set(name, { name, id: `${name}.${(this.#made += 1)}`, partitions })
    this.#changed()
  }

  delete(name: string): void {
    this.#topics.delete(name)
    this.#changed()
  }

  grow(name: string): void {
    const topic = this.#topics.get(name)
    if (topic !== undefined) this.#topics.set(name, { ...topic, partitions: topic.partitions + 1 })
    this.#changed()
  }

  describe(names: readonly string[]): readonly Topic[] {
    return names.flatMap((name) => this.#topics.get(name) ?? [])
  }

  partitions(names: readonly string[]): AssignedPartition[] {
    return this.describe(names).flatMap(({ name, id, partitions }) =>
      Array.from({ length: partitions }, (_, partition) => ({ topic: name, topicId: id, partition })),
    )
  }

  onChange(listener: () => void): void {
    this.#listeners.push(listener)
  }

  #changed(): void {
    for (const listener of this.#listeners) listener()
  }
}
