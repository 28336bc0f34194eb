import { decodeMessage } from '../../message/decode-message.ts'
import { TidemarkError } from '../../errors.ts'
import type { BatchSettings } from '../batch/batch-settings.ts'
import { Entry } from '../batch/entry.ts'
import type { Handler } from '../handler.ts'
import type { LeasedKey } from '../parked-port.ts'
import type { Task } from '../batch/plan.ts'
import { unhandled } from '../batch/unhandled.ts'
import { inboxIdOf, readEntry } from '../batch/read-entry.ts'

/** What a retrier does with a key, from its head on. */
export interface RetryPlan {
  /** In order. */
  readonly steps: readonly Task[]
  /** The head cannot be handled, whoever tries. */
  readonly hopeless: { readonly entry: Entry; readonly handler: Handler | null; readonly error: unknown } | null
  /** The head has no handler here. Other processes of the group may have one: they are of another version. */
  readonly unhandled: { readonly entry: Entry; readonly error: unknown } | null
}

/**
 * Reads the messages of a key that wait, up to the first that cannot be read, or that this process has no handler for. A head that has failed before, or made a process end, is alone: what comes behind it shall not
 * be done again for nothing. Rejects when what a codec needs is away.
 */
export async function planRetry(key: LeasedKey, settings: Pick<BatchSettings, 'routes' | 'envelope' | 'retryTopics'>): Promise<RetryPlan> {
  const isAlone = key.attempts > 0 || key.crashes > 0
  const steps: Task[] = []
  for (const { record } of isAlone ? key.messages.slice(0, 1) : key.messages) {
    const entry = new Entry(record)
    const envelope = readEntry(entry, settings)
    const handler = settings.routes.find(record.topic, envelope.type)
    if (handler === undefined) {
      if (steps.length > 0) break
      if (envelope.type === null && envelope.undecodable !== undefined)
        return { steps, hopeless: { entry, handler: null, error: envelope.undecodable }, unhandled: null }
      // In a lane it would be none of ours. This one was to be handled once, or it would not be here.
      return { steps, hopeless: null, unhandled: { entry, error: unhandled(envelope.type, entry.original) } }
    }
    try {
      const message = (entry.message = await decodeMessage(envelope, handler.definition))
      // Its place says whether a message with a coordinate was handled: it waits here because it was not.
      steps.push({ entry, handler, message, inboxId: inboxIdOf(entry, envelope, handler) })
      if (handler.transaction === 'message') break
    } catch (error) {
      if (TidemarkError.is(error) && error.retryable) {
        if (steps.length === 0) throw error
      } else if (steps.length === 0) return { steps, hopeless: { entry, handler, error }, unhandled: null }
      break
    }
  }
  return { steps, hopeless: null, unhandled: null }
}
