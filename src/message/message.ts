import type { Coordinate } from './coordinate.ts'
import type { EventData, EventDefinition } from './event.ts'

/** A message as a handler sees it. */
export interface Message<Data = unknown> {
  /** The publisher's id, a uuid v7 from Tidemark. For a record that names none: `topic-partition-offset`. */
  readonly id: string
  /** The event's type. */
  readonly type: string
  /** Who published it. `source` and `id` together are unique. For a record that names none: the topic. */
  readonly source: string
  readonly subject?: string
  /** When it happened, by its publisher; when the log took it, where the publisher said nothing that can be read. */
  readonly time: Date
  /** The record's key as text. Lanes and partitions are computed from its bytes, so a key that is not UTF-8 still keeps its order. */
  readonly key: string | null
  readonly data: Data
  /** The version it was written with. `data` is of the definition's version, upcast where needed. */
  readonly schemaVersion: number
  /** The same for everything that one first message led to. Its own id where none was given. */
  readonly correlationId: string
  /** Id of the message whose handler published this one. */
  readonly causationId?: string
  /** W3C trace context of the publishing transaction. */
  readonly traceparent?: string
  /** The publisher's own headers. Where a name occurs twice the last one counts; the record has all. */
  readonly headers: Readonly<Record<string, string>>
  /** Place among the messages of its key, from the publisher. */
  readonly sequenceNumber?: number
  /** Version of the aggregate after this event, from the publisher. */
  readonly aggregateVersion?: number
  /** Place in the sender's output; absent for foreign records and in simple mode. */
  readonly coordinate?: Coordinate
  readonly topic: string
  readonly partition: number
  readonly offset: number
}

/** The message that a handler of this event gets. */
export type MessageOf<Definition extends EventDefinition> = Message<EventData<Definition>>
