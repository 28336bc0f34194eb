import type { LanePosition, PartitionRef } from '../../consumer/port.ts'
import { TidemarkError } from '../../errors.ts'
import type { PostgresDatabase } from './database.ts'
import { quotedSchema } from './migrations/schema-name.ts'
import { endBatches } from './queries/lane-lock.ts'

/**
 * Ends what former owners of a partition have open, whatever they do: its rows stay locked until the transaction ends, and a frozen process never
 * ends it. To be called after the take-over and before the first batch. Returns why it could not, which is no reason to stop: a process that is
 * alive ends its batches by itself. Rejects when the connection broke.
 */
export async function endSuperseded(
  database: PostgresDatabase,
  schema: string,
  partition: PartitionRef,
  lanes: readonly LanePosition[],
): Promise<unknown> {
  if (lanes.length === 0) return null
  try {
    await database.use((session) => session.run([endBatches(schema, quotedSchema(schema), partition, { lanes })]))
    return null
  } catch (error) {
    if (TidemarkError.is(error)) throw error
    return error
  }
}
