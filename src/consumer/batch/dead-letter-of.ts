import { type Failure, fingerprintOf } from '../../retry/failure.ts'
import type { BatchSettings } from './batch-settings.ts'
import type { Entry } from './entry.ts'
import type { Handler } from '../handler.ts'
import type { DeadLetter, FailedAttempt } from '../port.ts'

/** Everything known of a message that is given up. */
export function deadLetterOf(
  { record, envelope }: Entry,
  handler: Handler | null,
  failure: Failure,
  attempts: readonly FailedAttempt[],
  { group, deadLetter, codeVersion }: Pick<BatchSettings, 'deadLetter' | 'codeVersion'> & { readonly group: string },
): DeadLetter {
  const { errorClass, reason, stack, frame } = failure
  const type = envelope?.type ?? null
  return {
    record,
    messageId: envelope?.id ?? null,
    type,
    handler: handler?.name ?? null,
    // Nothing can wait behind a message without a key.
    policy: record.key === null ? 'skip' : (handler?.deadLetter ?? deadLetter),
    errorClass,
    reason,
    stack,
    frame,
    fingerprint: fingerprintOf(failure, type, group),
    attempts,
    codeVersion,
  }
}
