import { isWithin, recordBytes } from '../message/page.ts'
import { partitionOf } from '../message/partition.ts'
import type { Refusal, SequencedRecord } from '../message/port.ts'
import { recordHeaders } from '../message/record-headers.ts'
import { isTopicName, topicOf } from '../message/topic.ts'
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
    if (isWithin(record, maxBytes)) records.push(record)
    else refused.push({ row, reason: `${recordBytes(record)} bytes, and the broker takes ${maxBytes}` })
  }
  return { records, refused }
}

function recordOf(row: OutboxRow, name: string, partitions: number, state: RelayState, tick: Tick): SequencedRecord {
  const key = Buffer.from(row.aggregateId)
  const { sourceEpoch, stream } = state
  const coordinate = state.coordinates ? { sourceEpoch, generation: tick.generation, stream, tick: tick.tick, seq: row.seq } : null
  const partition = partitionOf(key, partitions)
  return { topic: name, partition, key, value: row.payload, headers: recordHeaders(row, coordinate), coordinate }
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
