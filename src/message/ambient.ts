import { AsyncLocalStorage } from 'node:async_hooks'
import type { Message } from './message.ts'

interface Handled {
  readonly message: Message
  readonly group: string | undefined
}

// The one module-level state we allow ourselves: handlers publish through many call layers that know nothing of the message being handled,
// and the runtime offers no other way to follow them across `await`. It holds nothing between handlers.
const handled = new AsyncLocalStorage<Handled>()

/**
 * Runs `fn` as the handler of `message`: what it publishes, in any depth and after any `await`, inherits the correlation id and names the
 * message as its cause. Concurrent handlers do not see each other's message; an inner call hides the outer one.
 *
 * `group`: the consumer group that handles it. @default that of the handler around it, if any
 */
export function handling<Result>(message: Message, fn: () => Result, group: string | undefined = currentGroup()): Result {
  return handled.run({ message, group }, fn)
}

/** The message being handled where this is called, if any. */
export function currentMessage(): Message | undefined {
  return handled.getStore()?.message
}

/** The consumer group whose handler runs where this is called, if any. */
export function currentGroup(): string | undefined {
  return handled.getStore()?.group
}
