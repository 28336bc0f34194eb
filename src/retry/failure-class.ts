/**
 * What kind of failure it was, which decides what happens next.
 *
 * - `transient`: something outside was away or busy. Tried again; several keys at once open the breaker.
 * - `poison`: this message can never be handled. Dead at once.
 * - `bug`: everything that nobody knows. Tried again, since much of it passes.
 * - `incompatible`: a newer version of the event than this process knows, or a type that it has no handler for. Waits, with its key, for another process.
 * - `fenced`: what the handler works with was taken over by another process, such as the transactions of a producer of its own. Charged and tried again by the policy; never opens
 *   the breaker. That a consumer itself was fenced is no failure of a message, and charges nobody.
 */
export type FailureClass = 'transient' | 'poison' | 'bug' | 'incompatible' | 'fenced'

export const failureClasses = ['transient', 'poison', 'bug', 'incompatible', 'fenced'] as const satisfies readonly FailureClass[]
