import { PostgresOutboxOperations } from '../../drivers/postgres/postgres-outbox-operations.ts'
import type { OutboxStatus } from '../../outbox/index.ts'
import type { Command } from '../command.ts'
import { schemaOf, withDatabase } from '../connect.ts'
import { databaseFlags } from '../flags.ts'
import { duration, table } from '../table.ts'

export const outboxStatusCommand: Command = {
  name: 'outbox status',
  summary: 'How far each relay stream has come, what waits, and whether partitions are ready',
  example: 'tidemark outbox status --json',
  flags: databaseFlags,
  run: (context) =>
    withDatabase(context, async (database) => {
      const status = await new PostgresOutboxOperations({ database, schema: schemaOf(context) }).status()
      return { json: { ...status }, text: text(status) }
    }),
}

function text({ streams, rowsLeft, partitions, discarded }: OutboxStatus): string {
  const rows = streams.map((stream) => [
    stream.stream,
    stream.owner === null ? 'no relay' : `heard of ${duration(stream.silentMs)} ago`,
    stream.tick,
    stream.unpublished,
    duration(stream.oldestUnpublishedMs),
    stream.parkedKeys,
    stream.heldMessages,
  ])
  const lines = [
    rows.length === 0 ? 'No relay has run yet.' : table(['stream', 'owner', 'tick', 'unpublished', 'oldest', 'parked keys', 'held'], rows),
    `partitions: ${partitions.length}, ${rowsLeft} numbers ready; discarded messages: ${discarded}`,
    ...streams
      .filter(({ moved }) => moved !== null)
      .map(({ stream, moved }) => `! stream ${stream}: this database is a copy (${moved}); see tidemark outbox rebase`),
  ]
  return lines.join('\n')
}
