import { type Coordinate, formatCoordinate } from '../message/coordinate.ts'
import { isWithin, recordBytes } from '../message/page.ts'
import { partitionOf } from '../message/partition.ts'
import { isPassedOn, readPassedOn } from '../message/passed-on.ts'
import type { Refusal, SequencedRecord } from '../message/port.ts'
import { recordHeaders } from '../message/record-headers.ts'
import { isTopicName, topicOf } from '../message/topic.ts'
import { coordinateHeader } from '../message/wire.ts'
import type { HeldRow, OutboxPage, OutboxRow, RefusedRow, RelayState, Tick } from './port.ts'

/** Number of partitions of the topics met so far, or why a topic takes nothing. */
export type KnownTopics = ReadonlyMap<string, number | { readonly refused: string }>

/** Topics of a page that are not known yet, without those that have no possible name. */
export function unknownTopics(page: OutboxPage, known: KnownTopics): string[] {
  const names = new Set(page.rows.map(topic))
  return [...names].filter((name) => !known.has(name) && isTopicName(name))
}

/** A page as records, and those rows that no broker of these limits takes. */
export interface Prepared {
  readonly records: readonly SequencedRecord[]
  readonly refused: readonly RefusedRow[]
}

/** Makes a page's records. All topics must be known. What is refused here is parked before anything of the page is sent. */
export function prepare(page: OutboxPage, state: RelayState, tick: Tick, known: KnownTopics, maxBytes: number): Prepared {
  const records: SequencedRecord[] = []
  const refused: RefusedRow[] = []
  for (const row of page.rows) {
    const name = topic(row)
    const partitions = known.get(name)
    if (typeof partitions !== 'number') {
      refused.push({
        row,
        reason: isTopicName(name) ? (partitions?.refused ?? 'its topic is unknown') : 'its topic has a name that Kafka does not take',
      })
      continue
    }
    const record = recordOf(row, name, partitions, state, tick)
    if (record === null) refused.push({ row, reason: 'its header tidemark-record, which nobody but the consumer writes, cannot be read' })
    else if (isWithin(record, maxBytes)) records.push(record)
    else refused.push({ row, reason: `${recordBytes(record)} bytes, and the broker takes ${maxBytes}` })
  }
  return { records, refused }
}

/** `null`: a row that is to be passed on as it is, and cannot be read. */
function recordOf(row: OutboxRow, name: string, partitions: number, state: RelayState, tick: Tick): SequencedRecord | null {
  const { sourceEpoch, stream } = state
  const coordinate = state.coordinates ? { sourceEpoch, generation: tick.generation, stream, tick: tick.tick, seq: row.seq } : null
  if (isPassedOn(row)) return passedOnRecord(row, name, partitions, coordinate)
  const key = Buffer.from(row.aggregateId)
  const partition = partitionOf(key, partitions)
  return { topic: name, partition, key, value: row.payload, headers: recordHeaders(row, coordinate), coordinate }
}

function passedOnRecord(row: OutboxRow, topic: string, partitions: number, coordinate: Coordinate | null): SequencedRecord | null {
  const exact = readPassedOn(row)
  if (exact === null) return null
  const headers = coordinate === null ? exact.headers : [...exact.headers, [coordinateHeader, formatCoordinate(coordinate)] as const]
  const partition = partitionOf(exact.key ?? Buffer.from(row.aggregateId), partitions)
  return { topic, partition, key: exact.key, value: exact.value, headers, coordinate }
}

/** The page without the rows that the broker refused, which are held from now on. */
export function withoutRefused(
  page: OutboxPage,
  refusals: readonly Refusal[],
): { readonly page: OutboxPage; readonly refused: readonly RefusedRow[] } {
  const refused = refusals.map(({ index, reason }) => ({ row: page.rows[index] as HeldRow, reason }))
  const seqs = new Set(refused.map(({ row }) => row.seq))
  const rows = page.rows.filter(({ seq }) => !seqs.has(seq))
  return { page: { ...page, rows, held: [...page.held, ...refused.map(({ row }) => row)] }, refused }
}

function topic(row: OutboxRow): string {
  return topicOf(row.aggregateType, row.headers)
}
