/**
 * Names of headers on the wire and in the outbox's column. `record-headers.ts` writes them, `attributes.ts` reads them: the two must agree,
 * and the round-trip tests hold them together.
 */

/** Where a message stands in its sender's output, as `formatCoordinate` writes it. */
export const coordinateHeader = 'tidemark-coordinate'

/** The outbox's column `headers` as one JSON header, for a relay that can only copy whole columns (Debezium's outbox router). */
export const storedHeadersHeader = 'tidemark-headers'

/** In the outbox's column only, never on the wire: the event's own topic. */
export const storedTopicHeader = 'tidemark-topic'

/** In the outbox's column only: key and headers of a record that is passed on as it is. See `passed-on.ts`. */
export const storedRecordHeader = 'tidemark-record'

/** May a user's header have this name? Those of CloudEvents, of Debezium's router and our own are taken. */
export function isReservedHeader(name: string): boolean {
  return name === 'id' || name === 'content-type' || name === 'traceparent' || name.startsWith('ce_') || name.startsWith('tidemark-')
}
