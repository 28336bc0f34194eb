/**
 * What kind of failure it was, which decides what happens next.
 *
 * - `transient`: something outside was away or busy. Tried again; several keys at once open the breaker.
 * - `poison`: this message can never be handled. Dead at once.
 * - `bug`: everything that nobody knows. Tried again, since much of it passes.
 * - `incompatible`: a newer version of the event than this process knows. Waits, with its key, for a newer process.
 * - `fenced`: the work was taken away. Nobody is charged.
 */
export type FailureClass = 'transient' | 'poison' | 'bug' | 'incompatible' | 'fenced'

export const failureClasses = ['transient', 'poison', 'bug', 'incompatible', 'fenced'] as const satisfies readonly FailureClass[]
