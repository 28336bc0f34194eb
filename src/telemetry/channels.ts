import { channel } from 'node:diagnostics_channel'

/**
 * What Tidemark tells about itself while it works, by `node:diagnostics_channel`. Costs nothing where nobody listens. Names are
 * `tidemark:<area>:<event>`; every message is a plain object.
 */
export const channels = {
  /** A lane batch committed: `{ group, topic, partition, lane, handled, nextOffset, ms }`. */
  consumerBatch: channel('tidemark:consumer:batch'),
  /** A batch was rolled back and will run again: `{ group, topic, partition, lane, reason, error? }`. */
  consumerRollback: channel('tidemark:consumer:rollback'),
  /** A message failed and is charged: `{ group, topic, partition, offset, attempt, error }`. */
  consumerRetry: channel('tidemark:consumer:retry'),
  /** A message went to the dead letters: `{ group, topic, partition, offset, policy, reason }`. */
  consumerDeadLetter: channel('tidemark:consumer:dead-letter'),
  /** A partition's owner changed, as seen here: `{ group, topic, partition, what: 'taken' | 'fenced' | 'released' | 'abandoned' }`. */
  consumerOwnership: channel('tidemark:consumer:ownership'),
  /** Something outside any message's reach failed and will be tried again: `{ group, what, error }`. */
  consumerTrouble: channel('tidemark:consumer:trouble'),
} as const
