/**
 * Recognising repeats, cheapest first: the position, the high water of in-order streams, and the inbox of handled ids for everything else.
 * The consumer does all of it by itself; these are its parts.
 *
 * @module
 */

export { RisingWater, highestOf } from './high-water.ts'
export type { HighWater } from './high-water.ts'
export { inboxIdentity } from './identity.ts'
