import { TidemarkError } from '../../../errors.ts'

/** Where a batch stands in the log. */
export interface BatchPlace {
  readonly topic: string
  readonly partition: number
  /** The batch's first offset. */
  readonly offset: number
}

/** The batch is not as its producer wrote it. Retryable: it may have been damaged on the way, and another replica may serve it next. */
export function damaged(place: BatchPlace, reason: string, cause?: unknown): TidemarkError {
  return new TidemarkError('BROKER_BATCH_CORRUPT', `${said(place)} is damaged: ${reason}.`, {
    cause,
    details: { ...place },
    remedy:
      "It is read again. If it stays so, the log of the partition's leader is damaged: check its disk, and have a healthy replica lead " +
      '(kafka-leader-election), or continue behind the batch.',
  })
}

/** The batch is as its producer wrote it, and reading it again would not help. */
export function unreadable(place: BatchPlace, reason: string, remedy: string, cause?: unknown): TidemarkError {
  return new TidemarkError('MESSAGE_UNDECODABLE', `${said(place)} cannot be decoded: ${reason}.`, { cause, details: { ...place }, remedy })
}

function said({ topic, partition, offset }: BatchPlace): string {
  return `The batch at offset ${offset} of partition ${partition} of topic ${topic}`
}
