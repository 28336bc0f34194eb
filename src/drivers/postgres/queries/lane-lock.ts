import type { LaneRef, PartitionRef } from '../../../consumer/port.ts'
import type { Statement } from '../statement-run.ts'
import { settingsRead } from './handler-settings.ts'

/**
 * The lock that says which transactions are batches of a lane. Nobody ever waits for it: it is taken shared by all, and exists to be looked up
 * in `pg_locks`. It belongs to the transaction, so it names the right backend behind a transaction pooler, too. `schema` is the plain name.
 * Returns the settings as they are before a handler may change them, so that they cost no statement of their own.
 */
export function lockLane(schema: string, lane: LaneRef): Statement {
  return {
    text: `select pg_advisory_xact_lock_shared(hashtextextended($1, 0)), ${settingsRead}`,
    params: [nameOf(schema, lane, lane.lane)],
  }
}

/**
 * Ends the other connections that are in a batch of the partition. To be run by its new owner before its own first batch, and after its epoch is
 * committed: whoever is found then belongs to a former owner and cannot commit any more. Does nothing when the epoch is not the newest one.
 */
export function endBatches(schema: string, quoted: string, partition: PartitionRef, owner: OwnedLanes): Statement {
  return {
    text: `select pg_terminate_backend(held.pid) from (
      select distinct l.pid from unnest($1::text[]) as name, hashtextextended(name, 0) as key, pg_locks l
      where l.locktype = 'advisory' and l.objsubid = 1 and l.granted and l.pid <> pg_backend_pid()
        and l.database = (select oid from pg_database where datname = current_database())
        and l.classid = ((key >> 32) & 4294967295)::oid and l.objid = (key & 4294967295)::oid
        and exists (select from ${quoted}.consumer_position p
          where p.group_name = $2 and p.topic_id = $3 and p.partition = $4 and p.lane = $5 and p.epoch = $6)) held`,
    params: [
      owner.lanes.map(({ lane }) => nameOf(schema, partition, lane)),
      partition.group,
      partition.topicId,
      partition.partition,
      owner.lanes[0]?.lane ?? 0,
      owner.lanes[0]?.epoch ?? 0,
    ],
  }
}

interface OwnedLanes {
  /** As they stand after the take-over. */
  readonly lanes: readonly { readonly lane: number; readonly epoch: number }[]
}

/** A text of which no two lanes have the same, whatever is in the names. */
function nameOf(schema: string, { group, topicId, partition }: PartitionRef, lane: number): string {
  return JSON.stringify(['tidemark lane', schema, group, topicId, partition, lane])
}
