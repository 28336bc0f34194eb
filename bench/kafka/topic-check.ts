import type { KafkaBroker } from 'tidemark/kafka'
import { partitions } from './broker.ts'
import { purchase } from './purchase.ts'
import type { Purchase } from './purchase.ts'

/** What the log says of a run. Times are the broker's own, written when it took a batch: milliseconds since 1970. */
export interface TopicSeen {
  readonly firstAt: number
  readonly lastAt: number
  /** When the record came that has half of all before it. */
  readonly halfAt: number
  /** Keys and values. */
  readonly bytes: number
}

/**
 * Reads a whole topic. Rejects unless it holds purchases 1 to `expected`, each once and whole; with `ordered` those of a customer in the order
 * of their numbers, in which one publisher has committed them.
 */
export async function checkTopic(
  client: KafkaBroker,
  topic: string,
  expected: number,
  { ordered = true }: { readonly ordered?: boolean } = {},
): Promise<TopicSeen> {
  const check = new PurchaseCheck(ordered)
  const reader = client.reader()
  try {
    const offsets = Array.from({ length: partitions }, () => 0)
    const ends = await client.offsets(topic, 'latest')
    while (offsets.some((offset, partition) => offset < ends[partition]!)) {
      const from = offsets
        .map((offset, partition) => ({ topic, partition, offset }))
        .filter(({ offset, partition }) => offset < ends[partition]!)
      for (const { records, partition, nextOffset } of await reader.fetch(from, { maxBytes: 8 * 1024 * 1024, maxWaitMs: 5_000 })) {
        for (const record of records) check.see(record)
        offsets[partition] = nextOffset
      }
    }
  } finally {
    await reader.close()
  }
  return check.result(topic, expected)
}

class PurchaseCheck {
  readonly #times: number[] = []
  readonly #seen = new Set<number>()
  readonly #last = new Map<string, number>()
  readonly #problems: string[] = []
  readonly #ordered: boolean
  #highest = 0
  #bytes = 0

  constructor(ordered: boolean) {
    this.#ordered = ordered
  }

  see({ key, value, timestamp }: { readonly key: Buffer | null; readonly value: Buffer | null; readonly timestamp: number }): void {
    const placed = JSON.parse(value?.toString() ?? 'null') as Purchase
    const number = Number(placed.orderId.slice('order-'.length))
    if (this.#seen.has(number)) this.#problems.push(`${placed.orderId} twice`)
    if (key?.toString() !== placed.customerId) this.#problems.push(`${placed.orderId} under the key ${String(key)}`)
    if (this.#ordered && (this.#last.get(placed.customerId) ?? 0) > number) this.#problems.push(`${placed.orderId} after a later one`)
    if (placed.note !== purchase(number).note) this.#problems.push(`${placed.orderId} with another note`)
    this.#seen.add(number)
    this.#highest = Math.max(this.#highest, number)
    this.#last.set(placed.customerId, number)
    this.#times.push(timestamp)
    this.#bytes += key!.length + value!.length
  }

  result(topic: string, expected: number): TopicSeen {
    const [first] = this.#problems
    if (first !== undefined) throw new Error(`wrong log of ${topic}: ${this.#problems.length} records, the first is ${first}`)
    if (this.#seen.size !== expected || this.#highest !== expected)
      throw new Error(`wrong log of ${topic}: expected purchases 1 to ${expected}, found ${this.#seen.size}`)
    const times = Float64Array.from(this.#times).sort()
    return { firstAt: times[0]!, lastAt: times.at(-1)!, halfAt: times[times.length >> 1]!, bytes: this.#bytes }
  }
}
