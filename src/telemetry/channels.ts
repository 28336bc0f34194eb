import { channel } from 'node:diagnostics_channel'

/**
 * What Tidemark tells about itself while it works, by `node:diagnostics_channel`. Costs nothing where nobody listens. Names are
 * `tidemark:<area>:<event>`; every message is a plain object of facts: where, how often, and the class of an error (`DATABASE_CONNECTION_LOST`,
 * `error 23505`). What a handler's error says stands in the dead letter only, because such texts quote payloads.
 */
export const channels = {
  /** A lane batch committed: `{ group, topic, partition, lane, handled, nextOffset, ms }`. */
  consumerBatch: channel('tidemark:consumer:batch'),
  /** Messages that had waited with their key were handled: `{ group, topic, partition, handled }`. */
  consumerRetried: channel('tidemark:consumer:retried'),
  /** A batch, or a try of a parked key (`lane` is `null`), was rolled back and will run again: `{ group, topic, partition, lane, reason, errorClass? }`. */
  consumerRollback: channel('tidemark:consumer:rollback'),
  /** A message failed and is charged: `{ group, topic, partition, offset, attempt, errorClass }`. */
  consumerRetry: channel('tidemark:consumer:retry'),
  /** A message went to the dead letters: `{ group, topic, partition, offset, policy, errorClass }`. */
  consumerDeadLetter: channel('tidemark:consumer:dead-letter'),
  /** Many keys of a handler fail alike, and the consumer stands still; or it goes on: `{ group, what: 'opened' | 'closed', handler, errorClass }`. */
  consumerBreaker: channel('tidemark:consumer:breaker'),
  /**
   * Keys wait in more than one partition of a topic, so that what waits in one is not ordered after what waits in the other: `{ service, group, topic, keys,
   * partitions }`, `keys` how many. Looked at once a minute, and told when it has changed; `keys: 0`: it is over.
   */
  consumerSplitKeys: channel('tidemark:consumer:split-keys'),
  /** A partition's owner changed, as seen here: `{ group, topic, partition, what: 'taken' | 'fenced' | 'released' | 'abandoned' }`. */
  consumerOwnership: channel('tidemark:consumer:ownership'),
  /** Something outside any message's reach failed and will be tried again: `{ group, what, errorClass, error }`, the last one a text. */
  consumerTrouble: channel('tidemark:consumer:trouble'),
  /** A topic is not as this service expects: `{ service, topic, differs }`, the last one a list of texts. Told at the start; nothing is changed. */
  topicDiffers: channel('tidemark:topic:differs'),
  /**
   * At the start: messages without a coordinate can be read again, or redriven, when their ids are forgotten: `{ service, recognisedMs,
   * rememberedSince, exceededBy }`, see `DedupHorizon`. They would be handled again then.
   */
  horizonExceeded: channel('tidemark:inbox:horizon'),
  /** Old entries of the idempotency-key ledger could not be removed, and will be tried again: `{ service, error }`, the last one a text. */
  ledgerTrouble: channel('tidemark:ledger:trouble'),
  /** Dead letters could not be looked at, or nobody could be told of them; tried again at the next look: `{ error }`, a text. */
  alertTrouble: channel('tidemark:dead-letter:alert-trouble'),
  /** An operation was left: `{ service, operation, kind, outcome: 'done' | 'failed' | 'lost' | 'stopped' }`. */
  operationLeft: channel('tidemark:operation:left'),
  /** Work on operations failed and will be tried again: `{ service, operation, errorClass }`; `operation: null`: while looking for some. */
  operationTrouble: channel('tidemark:operation:trouble'),
} as const
