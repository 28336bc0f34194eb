import { TidemarkError } from '../../errors.ts'
import { backoffMs } from '../../internal/backoff.ts'
import { pause } from '../../internal/clock.ts'
import type { FetchPosition, Membership } from '../../message/port.ts'
import type { ConsumerSettings } from '../consumer-options.ts'
import { isFatal } from '../fatal.ts'
import { madeAgain, topicGone } from './lost-place.ts'
import type { Partitions } from './partitions.ts'

/** A fetch that finds nothing comes back after this, so that nothing rests on an abort being noticed. */
const maxWaitMs = 1_000

interface FetchingEvents {
  trouble(error: unknown): void
  fatal(error: unknown): void
}

/** Reads the log for whichever partitions want more, one request at a time. */
export class Fetching {
  readonly #settings: ConsumerSettings
  readonly #partitions: Partitions
  readonly #events: FetchingEvents
  #current: { readonly asked: ReadonlySet<string>; readonly abort: AbortController } | null = null
  #nudge: () => void = () => undefined
  #stop = new AbortController()
  #loop: Promise<void> = Promise.resolve()

  constructor(settings: ConsumerSettings, partitions: Partitions, events: FetchingEvents) {
    this.#settings = settings
    this.#partitions = partitions
    this.#events = events
  }

  start(membership: Membership): void {
    const stop = new AbortController()
    this.#stop = stop
    this.#loop = this.#loop.then(() => this.#run(membership, stop.signal))
  }

  async end(): Promise<void> {
    this.#stop.abort()
    this.#current?.abort.abort()
    this.#nudge()
    await this.#loop
  }

  /** What is to be read has changed. A request that waits for other partitions only is called back. */
  changed(): void {
    this.#nudge()
    const current = this.#current
    if (current === null) return
    if (this.#partitions.fetchPositions().some((position) => !current.asked.has(nameOf(position)))) current.abort.abort()
  }

  async #run(membership: Membership, stop: AbortSignal): Promise<void> {
    const { clock } = this.#settings
    let failures = 0
    while (!stop.aborted) {
      const from = this.#partitions.fetchPositions()
      if (from.length === 0) {
        await new Promise<void>((resolve) => (this.#nudge = resolve))
        continue
      }
      try {
        await this.#fetch(membership, from)
        failures = 0
      } catch (error) {
        if (stop.aborted) return
        if (isFatal(error)) return this.#events.fatal(this.#explained(error, from))
        this.#events.trouble(error)
        failures += 1
        await pause(clock, backoffMs({ firstMs: 50, maxMs: 5_000 }, failures, clock.random()), stop)
      }
    }
  }

  /** The broker knows nothing of the positions that are lost with a topic. */
  #explained(error: unknown, from: readonly FetchPosition[]): unknown {
    if (!TidemarkError.is(error)) return error
    const { topic: name, found } = error.details
    const read = from.find(({ topic }) => topic === name)
    if (read?.topicId === undefined) return error
    const ref = { group: this.#settings.group, topic: read.topic, topicId: read.topicId }
    if (error.code === 'TOPIC_UNKNOWN') return topicGone(ref)
    return error.code === 'TOPIC_MISMATCH' && typeof found === 'string' ? madeAgain(ref, found) : error
  }

  async #fetch(membership: Membership, from: readonly FetchPosition[]): Promise<void> {
    const abort = new AbortController()
    this.#current = { asked: new Set(from.map(nameOf)), abort }
    try {
      const found = await membership.fetch(from, { maxBytes: this.#settings.fetchBytes, maxWaitMs, signal: abort.signal })
      this.#current = null
      const asked = new Map(from.map((position) => [nameOf(position), position.offset]))
      for (const fetched of found) this.#partitions.fetched(asked.get(nameOf(fetched))!, fetched)
    } finally {
      this.#current = null
    }
  }
}

function nameOf({ topic, partition }: { readonly topic: string; readonly partition: number }): string {
  return `${topic}/${partition}`
}
