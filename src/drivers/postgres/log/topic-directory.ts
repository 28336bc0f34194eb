import type { TidemarkError } from '../../../errors.ts'
import { topicMadeAnew, topicUnknown } from '../../../message/broker-error.ts'
import { type TopicRow, readTopics } from '../queries/log.ts'
import type { LogStore } from './log-store.ts'

/** What this process knows of topics: their keys, by name. A topic made anew gets another key, so a stale entry reads and writes nothing. */
export class TopicDirectory {
  readonly #store: LogStore
  readonly #topics = new Map<string, TopicRow>()

  constructor(store: LogStore) {
    this.#store = store
  }

  /** Remembers what was just read. */
  learn(rows: readonly TopicRow[]): void {
    for (const row of rows) this.#topics.set(row.name, row)
  }

  forget(name: string): void {
    this.#topics.delete(name)
  }

  /** All of them, read where not known. Rejects with `TOPIC_UNKNOWN`. */
  async find(names: Iterable<string>): Promise<ReadonlyMap<string, TopicRow>> {
    const missing = [...new Set(names)].filter((name) => !this.#topics.has(name))
    if (missing.length > 0) this.learn(await this.#store.use((session, schema) => readTopics(session, schema, missing)))
    for (const name of missing) if (!this.#topics.has(name)) throw topicUnknown(name)
    return this.#topics
  }

  /** The topic behind a known key is gone: says whether it was made anew or not. */
  async replaced(stale: TopicRow): Promise<TidemarkError> {
    this.forget(stale.name)
    const [row] = await this.#store.use((session, schema) => readTopics(session, schema, [stale.name]))
    if (row === undefined) return topicUnknown(stale.name)
    this.learn([row])
    return topicMadeAnew(row, stale.id)
  }
}
