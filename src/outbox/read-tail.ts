import { uuidv7 } from '../internal/uuid.ts'
import type { AssignmentListener, Broker, FetchPosition, LogRecord, Membership } from '../message/port.ts'

const options = { maxBytes: 4_000_000, maxWaitMs: 1_000 }

/** Calls `visit` for every record of these topics from `since` to their present ends, in order within a partition. */
export async function readTail(broker: Broker, topics: readonly string[], since: Date, visit: (record: LogRecord) => void): Promise<void> {
  if (topics.length === 0) return
  const existing = await broker.topics(topics.map((name) => ({ name })))
  const ends = new Map<string, number>()
  const from: FetchPosition[] = []
  for (const { name } of existing) {
    const [starts, latest] = [await broker.offsets(name, since), await broker.offsets(name, 'latest')]
    starts.forEach((offset, partition) => from.push({ topic: name, partition, offset }))
    latest.forEach((offset, partition) => ends.set(`${name}/${partition}`, offset))
  }
  // Reading needs a membership; one of a group that nobody else is in disturbs nobody.
  const member = await broker.join({ group: `tidemark-rebase-${uuidv7()}`, topics }, indifferent)
  try {
    for (const start of from) await readPartition(member, start, ends.get(`${start.topic}/${start.partition}`)!, visit)
  } finally {
    await member.leave()
  }
}

async function readPartition(member: Membership, start: FetchPosition, end: number, visit: (record: LogRecord) => void): Promise<void> {
  let { offset } = start
  while (offset < end) {
    const [found] = await member.fetch([{ ...start, offset }], options)
    if (found === undefined) continue
    for (const record of found.records) if (record.offset < end) visit(record)
    // What retention removed meanwhile cannot be read; what is left can.
    offset = found.outOfRange === undefined ? found.nextOffset : Math.max(found.outOfRange.startOffset, offset + 1)
  }
}

const indifferent: AssignmentListener = {
  assigned: () => undefined,
  revoked: () => Promise.resolve(),
  lost: () => undefined,
  failed: () => undefined,
}
