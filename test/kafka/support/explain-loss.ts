import { kafkaTool } from '../../../servers/tools.ts'
import { kafka } from '../../../src/drivers/kafka/index.ts'
import type { LoadDatabase } from './load.ts'
import { readWire, wireOutcome } from './wire.ts'

/**
 * What a failure is understood by: how far the relay came, how far each partition was read, and on which side of its position each change stands that has no
 * effect: behind it, it was skipped; before it, nobody reads.
 */
export async function explainLoss(
  { database }: LoadDatabase,
  brokers: readonly string[],
  aggregate: string,
  group: string,
): Promise<string> {
  const topic = `outbox.event.${aggregate}`
  const wire = await readWire({ brokers }, topic)
  const broker = kafka({ brokers })
  const ends = await broker.offsets(topic, 'latest').finally(() => broker.close())
  const lanes = await database.query<{ partition: number; lane: number; lanes: number; next: number; epoch: number }>(
    'select partition, lane, lanes, next_offset::int as next, epoch::int from tidemark.consumer_position where group_name = $1 and topic = $2 order by 1, 2',
    [group, topic],
  )
  const done = await database.query<{ key: string; n: number }>('select key, n from effect where aggregate = $1 and grp = $2', [
    aggregate,
    group,
  ])
  const handled = new Set(done.map(({ key, n }) => `${key}/${n}`))
  const missing = wire.filter(({ key, n }) => !handled.has(`${key}/${n}`))
  const relays = await database.query('select stream, finished, tick from tidemark.relay')
  const lines = ends.map((end, partition) => {
    const mine = lanes.filter((lane) => lane.partition === partition)
    const at = mine.map(({ lane, next, epoch }) => `${lane}@${next} (epoch ${epoch})`).join(' ')
    const lowest = Math.min(...mine.map(({ next }) => next))
    const here = missing.filter((one) => one.partition === partition)
    return `${partition}: end ${end}; ${at}; no effect: ${here.filter(({ offset }) => offset < lowest).length} behind, ${here.filter(({ offset }) => offset >= lowest).length} before the position`
  })
  const { stdout } = await kafkaTool('kafka-consumer-groups', [
    ...['--bootstrap-server', brokers.join(), '--describe', '--group', group],
    ...['--members', '--verbose'],
  ])
  return [JSON.stringify(wireOutcome(wire)), JSON.stringify(relays), ...lines, stdout].join('\n')
}
