import { defaultDedupMs } from '../consumer/consumer-options.ts'
import { type DedupHorizon, dedupHorizon } from '../inbox/index.ts'
import { systemClock, within } from '../internal/clock.ts'
import { channels } from '../telemetry/channels.ts'
import { type OpenService, topicsByGroup } from './open-service.ts'
import type { ServiceOptions } from './options.ts'
import type { Consumption } from './service.ts'

const patienceMs = 5_000

/** How long this service recognises repeats by their ids, and what goes beyond. Without what the broker knows where that does not answer in time. */
export async function horizonOf(
  { database, broker }: OpenService,
  consumptions: readonly Consumption[],
  { consumer }: ServiceOptions,
): Promise<DedupHorizon> {
  // Those that are idempotent by nature need nobody to remember anything.
  const remembered = consumptions.filter(({ handler }) => handler.idempotent === 'inbox')
  const groups = topicsByGroup(remembered)
  const { rememberedSince, groupsWithIds, oldestForgottenLetter } = await database.inbox.state([...groups.keys()])
  const topics = [...new Set([...groups.values()].flat())]
  const kept = await retentionOf(broker, topics)
  const withIds = new Set(groupsWithIds.flatMap((group) => groups.get(group) ?? []))
  return dedupHorizon({
    now: Date.now(),
    dedupMs: consumer?.dedupMs ?? defaultDedupMs,
    rememberedSince,
    topics: topics.map((topic) => {
      return { topic, retentionMs: kept.get(topic) ?? null, producedWith: withIds.has(topic) ? 'id' : 'unknown' }
    }),
    oldestDeadLetter: oldestForgottenLetter,
  })
}

/**
 * Tells on the diagnostics channel what goes beyond the horizon. Topics only where messages without coordinates have come to the group: ours need no
 * horizon. Never rejects: it is a look at the start, and no reason not to start.
 */
export async function tellOfHorizon(open: OpenService, consumptions: readonly Consumption[], options: ServiceOptions): Promise<void> {
  if (!channels.horizonExceeded.hasSubscribers) return
  try {
    const { exceededBy, ...horizon } = await horizonOf(open, consumptions, options)
    const certain = exceededBy.filter((excess) => excess.what === 'dead letter' || excess.producedWith === 'id')
    if (certain.length > 0) channels.horizonExceeded.publish({ service: open.name, ...horizon, exceededBy: certain })
  } catch {
    // Whoever asks for the status is told why.
  }
}

async function retentionOf(broker: OpenService['broker'], topics: readonly string[]): Promise<ReadonlyMap<string, number>> {
  const asked = broker.retention?.(topics)
  if (asked === undefined) return new Map()
  try {
    return (await within(systemClock, patienceMs, asked)) ? await asked : new Map<string, number>()
  } catch {
    return new Map()
  }
}
