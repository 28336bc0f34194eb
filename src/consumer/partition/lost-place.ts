import { TidemarkError } from '../../errors.ts'
import type { PartitionRef, TopicRef } from '../port.ts'

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

/** The topic was deleted and made again: its offsets are others. */
export function madeAgain(ref: TopicRef, found: string): TidemarkError {
  const { group, topic, topicId } = ref
  const text = `The topic ${topic} was deleted and made again: group "${group}" has positions in ${topicId}, the broker has ${found}.`
  return new TidemarkError('TOPIC_MISMATCH', text, {
    details: { group, topic, known: topicId, found },
    remedy: `What the old topic held beyond these positions is lost to the group. To begin with the new one, delete its old rows: ${deleted(ref)}.`,
  })
}

/** The topic was deleted, as a reader found. */
export function topicGone(ref: TopicRef): TidemarkError {
  const { group, topic, topicId } = ref
  return new TidemarkError('TOPIC_UNKNOWN', `The topic ${topic} was deleted: group "${group}" has positions in ${topicId}.`, {
    details: { group, topic, known: topicId },
    remedy: `What it held beyond these positions is lost to the group. Stop handling its events; or have it made again, and delete its old rows: ${deleted(ref)}.`,
  })
}

function deleted({ group, topicId }: TopicRef): string {
  return `delete from consumer_position where group_name = ${literal(group)} and topic_id = ${literal(topicId)}`
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
