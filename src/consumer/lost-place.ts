import { TidemarkError } from '../errors.ts'
import type { PartitionRef } from './port.ts'

/** Retention, a deletion of records, or a log that lost its end and has not grown past the position since. */
export function outOfRange(ref: PartitionRef, offset: number, startOffset: number, endOffset: number): TidemarkError {
  const { group, topic, partition } = ref
  const text = `Group "${group}" stands at offset ${offset} of ${topic}-${partition}, but the log holds only ${startOffset} to ${endOffset}.`
  const isBelow = offset < startOffset
  const lost = isBelow
    ? `Messages ${offset} to ${startOffset - 1} are gone unhandled: make good what they meant, if it matters, then begin at the first that is left`
    : `What the group has handled of ${endOffset} to ${offset - 1} is gone from the log, and may be sent again: make sure that its effects may stay, then begin at the end`
  const there = isBelow ? startOffset : endOffset
  return new TidemarkError('OFFSET_OUT_OF_RANGE', text, {
    details: { group, topic, partition, offset, startOffset, endOffset },
    remedy: `${lost}: ${movedTo(ref, there, isBelow ? '<' : '>')}.`,
  })
}

/** An unclean leader election: a replica that lacked records became the leader, and others took their offsets. */
export function truncated(ref: PartitionRef, offset: number, endOffset: number): TidemarkError {
  const { group, topic, partition } = ref
  const text = `Group "${group}" stands at offset ${offset} of ${topic}-${partition}, but the log has lost what it held from ${endOffset} on, and others take the places.`
  return new TidemarkError('LOG_TRUNCATED', text, {
    details: { group, topic, partition, offset, endOffset },
    remedy: `A replica that lacked these messages became the leader (unclean.leader.election.enable). What was done for them stays done; of those in their places, up to ${offset - 1}, the group has handled none. To handle them: ${movedTo(ref, endOffset, '>')}. To go on without them: update consumer_position set leader_epoch = null ${whereOf(ref)}.`,
  })
}

function movedTo(ref: PartitionRef, offset: number, comparison: '<' | '>'): string {
  return `update consumer_position set next_offset = ${offset} ${whereOf(ref)} and next_offset ${comparison} ${offset}`
}

function whereOf({ group, topicId, partition }: PartitionRef): string {
  return `where group_name = ${literal(group)} and topic_id = ${literal(topicId)} and partition = ${partition}`
}

function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`
}
