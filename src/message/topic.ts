import { storedTopicHeader } from './wire.ts'

const topicPrefix = 'outbox.event.'

/**
 * The topic of an outbox message: `outbox.event.<aggregate type>`, letter case kept, as Debezium's outbox router makes it by default
 * (`route.topic.replacement=outbox.event.${routedByValue}`). Given the stored headers too, it honours the event's own `topic`.
 */
export function topicOf(aggregateType: string, headers?: Readonly<Record<string, string>>): string {
  return headers?.[storedTopicHeader] ?? topicPrefix + aggregateType
}

/** The aggregate type whose messages are in this topic; a topic of its own stands for itself. */
export function aggregateTypeOf(topic: string): string {
  return topic.startsWith(topicPrefix) ? topic.slice(topicPrefix.length) : topic
}

/** Does Kafka take this name? 1 to 249 of ASCII letters, digits, `.`, `_` and `-`, and neither `.` nor `..`. */
export function isTopicName(name: string): boolean {
  return /^[a-zA-Z0-9._-]{1,249}$/.test(name) && name !== '.' && name !== '..'
}
