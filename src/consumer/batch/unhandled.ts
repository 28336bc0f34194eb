import { TidemarkError } from '../../errors.ts'
import type { LogRecord } from '../../message/port.ts'

/** Long enough for a deployment to reach all processes of a group, or to be taken back. */
export const mostUnhandledMs = 3_600_000

/** Anybody may put a document where a type should be. */
const longestType = 200

const pauseMs = { least: 5_000, most: 300_000 }

/** A message waits to be handled, and this process has no handler of its type. */
export function unhandled(type: string | null, { topic, partition, offset }: LogRecord): TidemarkError {
  const what = type === null ? 'a message without a type' : `a message of the type "${type.slice(0, longestType)}"`
  return new TidemarkError(
    'UNHANDLED',
    `Expected a handler for ${what}, which waits at ${topic}-${partition}-${offset}; this process has none.`,
    {
      details: { topic, partition, offset, type },
      remedy: 'Deploy a process of the group that handles it; or discard it once it is a dead letter.',
    },
  )
}

/** Until one is asked again who has waited so long: others of the group may have the handler, and should come first. */
export function unhandledPauseMs(waitedMs: number, random: number): number {
  const longest = Math.min(pauseMs.most, Math.max(pauseMs.least, waitedMs))
  return longest / 2 + (longest / 2) * random
}
