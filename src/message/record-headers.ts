import type { Coordinate } from './coordinate.ts'
import { formatCoordinate } from './coordinate.ts'
import type { OutboxMessage } from './outbox-message.ts'
import type { Header } from './port.ts'
import { coordinateHeader, storedTopicHeader } from './wire.ts'

const specversion: Header = Object.freeze(['ce_specversion', '1.0'] as const)
const json: Header = Object.freeze(['content-type', 'application/json'] as const)

/**
 * The headers of a stored message's record: CloudEvents 1.0 in binary mode, Debezium's `id`, the stored ones, and the coordinate unless the
 * sender runs in simple mode. Runs for every message of a relay, so it makes one pass and nothing it does not need.
 */
export function recordHeaders(message: OutboxMessage, coordinate: Coordinate | null): Header[] {
  const headers: Header[] = [
    ['id', message.id],
    specversion,
    ['ce_id', message.id],
    ['ce_type', message.type],
    ['ce_partitionkey', message.aggregateId],
  ]
  const stored = message.headers
  let typed = false
  for (const name in stored) {
    if (name === storedTopicHeader) continue
    const value: unknown = stored[name]
    // Rows may be written by plain SQL, and jsonb holds more than text.
    const text = typeof value === 'string' ? value : JSON.stringify(value)
    if (name === 'content-type') typed = true
    // CloudEvents carries the context an event began in as its own attribute; the plain header is for the hop.
    else if (name === 'traceparent') headers.push(['ce_traceparent', text])
    headers.push([name, text])
  }
  if (!typed) headers.push(json)
  if (coordinate !== null) headers.push([coordinateHeader, formatCoordinate(coordinate)])
  return headers
}
