import type { LogRecord } from '../../message/port.ts'
import { type BreakerPolicy, CircuitBreaker } from '../../retry/circuit-breaker.ts'
import { failureOf } from '../../retry/failure.ts'
import { channels } from '../../telemetry/channels.ts'
import type { ConsumerSettings } from '../consumer-options.ts'
import type { PartitionRef } from '../port.ts'

interface Charged {
  readonly partition: PartitionRef
  readonly keys: Buffer[]
}

/**
 * The breaker of a consumer, and what goes with its opening: messages that were charged before anybody could know that it was not their fault get their charge
 * back.
 */
export class Outage {
  readonly breaker: CircuitBreaker
  readonly #settings: Pick<ConsumerSettings, 'group' | 'store'>
  /** By handler, since it last succeeded; then by partition. */
  readonly #charged = new Map<string, Map<string, Charged>>()

  constructor(settings: Pick<ConsumerSettings, 'group' | 'store'>, policy: BreakerPolicy, closed: () => void) {
    this.#settings = settings
    this.breaker = new CircuitBreaker(policy, {
      opened: (cause) => {
        this.#tell('opened', cause)
        this.#refund(cause.handler)
      },
      closed: (cause) => {
        this.#tell('closed', cause)
        closed()
      },
      succeeded: (handler) => void this.#charged.delete(handler),
    })
  }

  get cause(): { readonly handler: string; readonly errorClass: string } | null {
    const { cause } = this.breaker
    return cause === null ? null : { handler: cause.handler, errorClass: cause.errorClass }
  }

  charged(handler: string, partition: PartitionRef, { key }: LogRecord): void {
    // Of a probe that was charged on purpose nothing is given back.
    if (key === null || this.breaker.isOverdue) return
    const partitions = this.#charged.get(handler) ?? new Map<string, Charged>()
    this.#charged.set(handler, partitions)
    const name = `${partition.topicId}/${partition.partition}`
    const charged = partitions.get(name) ?? { partition, keys: [] }
    partitions.set(name, charged)
    charged.keys.push(key)
    if (this.breaker.cause?.handler === handler) this.#refund(handler)
  }

  #refund(handler: string): void {
    const partitions = [...(this.#charged.get(handler)?.values() ?? [])]
    this.#charged.delete(handler)
    for (const { partition, keys } of partitions) {
      // Without it they have one try less; the outage counts no further ones.
      this.#settings.store.parked.refund(partition, keys).catch((error: unknown) => {
        const { errorClass, reason } = failureOf(error)
        channels.consumerTrouble.publish({ group: this.#settings.group, what: 'refund', errorClass, error: reason })
      })
    }
  }

  #tell(what: 'opened' | 'closed', { handler, errorClass }: { readonly handler: string; readonly errorClass: string }): void {
    channels.consumerBreaker.publish({ group: this.#settings.group, what, handler, errorClass })
  }
}
