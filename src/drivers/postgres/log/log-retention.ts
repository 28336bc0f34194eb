import type { Clock } from '../../../internal/clock.ts'
import { partitionsToTrim, trimStep } from '../queries/log-retention.ts'
import type { LogStore } from './log-store.ts'

/** Removes what is past its retention, now and then, one process at a time and in small steps. */
export class LogRetention {
  readonly #store: LogStore
  readonly #clock: Clock
  readonly #intervalMs: number
  #cancel: (() => void) | null = null
  #running: Promise<void> | null = null
  #closed = false

  constructor(store: LogStore, clock: Clock, intervalMs: number) {
    this.#store = store
    this.#clock = clock
    this.#intervalMs = intervalMs
  }

  /** From now on at every interval. A second call changes nothing. */
  start(): void {
    if (this.#closed || this.#cancel !== null) return
    this.#cancel = this.#clock.after(this.#intervalMs, () => {
      // What failed is tried again at the next interval: nothing depends on it.
      this.#running = this.trim().catch(() => undefined)
      void this.#running.then(() => {
        this.#cancel = null
        this.start()
      })
    })
  }

  /** Once, to the end, or until another process is found to be at it. */
  async trim(): Promise<void> {
    const partitions = await this.#store.use(partitionsToTrim)
    for (const { topic, partition } of partitions) {
      for (let step = 'more'; step === 'more' && !this.#closed;) {
        step = await this.#store.use((session, schema) => trimStep(session, schema, topic, partition))
        if (step === 'busy') return
      }
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#cancel?.()
    await this.#running
  }
}
