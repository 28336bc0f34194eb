/**
 * What happens to the messages behind a dead letter. `block`: those of its key wait, in order, until it is redriven or discarded. `skip`:
 * they go on without it, and the order of the key is given up there.
 */
export type DeadLetterPolicy = 'block' | 'skip'
