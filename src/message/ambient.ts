import { AsyncLocalStorage } from 'node:async_hooks'
import type { Message } from './message.ts'

// The one module-level state we allow ourselves: handlers publish through many call layers that know nothing of the message being handled,
// and the runtime offers no other way to follow them across `await`. It holds nothing between handlers.
const handled = new AsyncLocalStorage<Message>()

/**
 * Runs `fn` as the handler of `message`: what it publishes, in any depth and after any `await`, inherits the correlation id and names the
 * message as its cause. Concurrent handlers do not see each other's message; an inner call hides the outer one.
 */
export function handling<Result>(message: Message, fn: () => Result): Result {
  return handled.run(message, fn)
}

/** The message being handled where this is called, if any. */
export function currentMessage(): Message | undefined {
  return handled.getStore()
}
