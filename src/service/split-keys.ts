import type { ParkedStore, SplitKeys } from '../consumer/index.ts'
import { type Clock, pause, systemClock } from '../internal/clock.ts'
import { channels } from '../telemetry/channels.ts'

/** Keys that wait in more than one partition of a topic. Which ones: `tidemark dlq stats`. */
export interface SplitTopic {
  readonly topic: string
  /** How many keys. */
  readonly keys: number
  /** Where any of them waits; rising. */
  readonly partitions: readonly number[]
}

export interface SplitWatchOptions {
  readonly service: string
  readonly groups: readonly string[]
  readonly parked: Pick<ParkedStore, 'splitKeys'>
  /** @default 60,000 ms */
  readonly everyMs?: number
  /** @default this process's clock */
  readonly clock?: Clock
}

/** Without the keys themselves: who asks for a status is not always one who may see them. */
export function splitTopics(found: readonly SplitKeys[]): readonly SplitTopic[] {
  return found.map(({ topic, keys, partitions }) => ({ topic, keys, partitions }))
}

/**
 * Looks for split keys now and then, where somebody listens on the diagnostics channel, and tells what has changed. A look reads every key that waits; trouble is
 * left to the next one.
 */
export function watchSplitKeys(options: SplitWatchOptions): { stop(): Promise<void> } {
  const { service, groups, parked, everyMs = 60_000, clock = systemClock } = options
  const told = new Map<string, readonly SplitTopic[]>()
  const stopping = new AbortController()
  const { signal } = stopping
  const look = async (group: string): Promise<void> => {
    const before = told.get(group) ?? []
    const now = splitTopics(await parked.splitKeys(group))
    for (const topic of changed(before, now)) channels.consumerSplitKeys.publish({ service, group, ...topic })
    told.set(group, now)
  }
  const loop = async (): Promise<void> => {
    while (!signal.aborted) {
      if (channels.consumerSplitKeys.hasSubscribers) for (const group of groups) await look(group).catch(() => undefined)
      await pause(clock, everyMs, signal)
    }
  }
  const done = loop()
  return {
    stop: () => {
      stopping.abort()
      return done
    },
  }
}

/** Topics that stand otherwise than they did, and those that are not there any more. */
function changed(before: readonly SplitTopic[], now: readonly SplitTopic[]): readonly SplitTopic[] {
  const known = new Set(before.map((one) => JSON.stringify(one)))
  const over = before.filter(({ topic }) => !now.some((one) => one.topic === topic))
  return [...now.filter((one) => !known.has(JSON.stringify(one))), ...over.map(({ topic }) => ({ topic, keys: 0, partitions: [] }))]
}
