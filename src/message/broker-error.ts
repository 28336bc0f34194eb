import { TidemarkError } from '../errors.ts'
import type { StreamClaim, Topic } from './port.ts'

/*
 * The errors of the broker port, so that every driver says the same in the same case.
 */

export function brokerClosed(what: 'broker' | 'appender' | 'membership' | 'reader'): TidemarkError {
  return new TidemarkError('BROKER_CLOSED', `This ${what} was closed.`)
}

export function topicUnknown(name: string): TidemarkError {
  return new TidemarkError('TOPIC_UNKNOWN', `The topic "${name}" does not exist.`, {
    details: { topic: name },
    remedy: 'Make it first: broker.topics([{ name }]).',
  })
}

/** The topic is not the one whose positions are at hand. */
export function topicMadeAnew(topic: Topic, expected: string): TidemarkError {
  return new TidemarkError('TOPIC_MISMATCH', `The topic "${topic.name}" was made anew: expected id ${expected}, found ${topic.id}.`, {
    details: { topic: topic.name, expected, found: topic.id },
    remedy: 'Positions of the old one mean nothing in the new one. Reset them on purpose, or restore the topic.',
  })
}

export function noSuchPartition({ name, partitions }: Topic, partition: number): TidemarkError {
  return new TidemarkError('TOPIC_MISMATCH', `The topic "${name}" has ${partitions} partitions; number ${partition} is not among them.`, {
    details: { topic: name, partitions, partition },
    remedy: 'Ask broker.topics for the number of partitions, and choose by it.',
  })
}

/** `last` is the stream's last coordinate in wire form: above the sender's own tick it tells of a restored database. */
export function streamFenced({ sourceEpoch, stream, epoch }: StreamClaim, last: string | null): TidemarkError {
  return new TidemarkError('BROKER_FENCED', `Stream ${stream} of ${sourceEpoch} has a newer owner than epoch ${epoch}.`, {
    details: { sourceEpoch, stream, epoch, last },
  })
}

export function appendUnderWay(): TidemarkError {
  return new TidemarkError('INPUT_INVALID', 'A page was appended while the one before it was still under way.', {
    remedy: 'Await each append.',
  })
}
