import { MemoryBroker } from '../../drivers/memory/memory-broker.ts'
import { MemoryLog } from '../../drivers/memory/memory-log.ts'
import type { Coordinate } from '../../message/coordinate.ts'
import { lastCoordinate, sourceLife, withoutRepeats } from '../../message/page.ts'
import type { Appender, BrokerTraits, LogRecord, Refusal, SequencedRecord, StreamClaim } from '../../message/port.ts'
import { idOf } from './ledger.ts'
import type { Ledger } from './ledger.ts'
import type { Surroundings } from './surroundings.ts'

/**
 * The log that all processes share. Without a fence it is like a broker that knows nothing of streams: a superseded sender may repeat what it
 * has, and pages may arrive in part.
 */
export class SimulatedLog {
  readonly log: MemoryLog
  /** For what needs no fence. */
  readonly broker: MemoryBroker
  readonly traits: BrokerTraits
  readonly #world: Surroundings
  readonly #ledger: Ledger
  readonly #last = new Map<string, Coordinate>()
  readonly #noted = new Map<string, number>()
  /** Topics and keys of which it takes everything by now. */
  readonly #mended = new Set<string>()

  constructor(world: Surroundings, ledger: Ledger, partitions: number) {
    const { fencesAppends, skipsRepeats } = world.plan
    this.log = new MemoryLog({ clock: world.schedule.clock })
    this.broker = new MemoryBroker({ log: this.log, defaultPartitions: partitions })
    this.traits = { ...this.broker.traits, fencesAppends, skipsRepeats }
    this.#world = world
    this.#ledger = ledger
  }

  /** From now on it takes every record of this key. */
  mend(topic: string, key: string): void {
    this.#mended.add(`${topic} ${key}`)
  }

  async appender(claim: StreamClaim): Promise<Appender> {
    const name = streamName(claim)
    const { fencesAppends, skipsRepeats } = this.traits
    const fenced = fencesAppends ? this.log.claim(claim) : null
    const append = async (page: readonly SequencedRecord[]): Promise<readonly Refusal[]> => {
      const { taken, refusals } = this.#sorted(page)
      const stream = fenced ?? { ...sourceLife(claim.sourceEpoch), epoch: claim.epoch, last: null }
      const records = skipsRepeats ? withoutRepeats(taken, stream.last) : taken
      const arriving = fenced === null ? this.#part(records) : records
      this.log.append(claim, stream, arriving)
      const last = lastCoordinate(arriving)
      if (last !== null && isAbove(last, this.#last.get(name))) this.#last.set(name, last)
      this.#noteNew()
      if (arriving.length < records.length) throw new Error('the connection broke in the middle of a page')
      return refusals
    }
    return { last: this.#last.get(name) ?? null, append, close: () => Promise.resolve() }
  }

  /** Appends what did not come from one of our senders. */
  append(record: SequencedRecord): void {
    const stranger = { life: 0, epoch: 0, last: null }
    this.log.append({ sourceEpoch: 'stranger', generation: 1, stream: 0, epoch: 0, topics: [] }, stranger, [record])
    this.#noteNew()
  }

  #sorted(page: readonly SequencedRecord[]): { readonly taken: readonly SequencedRecord[]; readonly refusals: readonly Refusal[] } {
    const refusals: Refusal[] = []
    const held = new Set<string>()
    const taken = page.filter((record, index) => {
      const key = `${record.topic} ${String(record.key)}`
      const refused = !this.#mended.has(key) && this.#ledger.trouble(idOf({ ...record, offset: 0, timestamp: 0 })) === 'refused'
      // What follows a refused one of its key must not stand before it.
      if (!refused && !held.has(key)) return true
      held.add(key)
      refusals.push({ index, reason: 'the broker does not like it' })
      return false
    })
    return { taken, refusals }
  }

  /** All of it, or the beginning of each partition's share. */
  #part(records: readonly SequencedRecord[]): readonly SequencedRecord[] {
    const { chance, faulty, plan } = this.#world
    if (!faulty || !chance.isSo(plan.lostReply)) return records
    const cuts = new Map<number, number>()
    return records.filter(({ partition }) => {
      const left = cuts.get(partition) ?? chance.whole(0, records.length)
      cuts.set(partition, left - 1)
      return left > 0
    })
  }

  #noteNew(): void {
    for (const [topic, partition] of this.#partitions()) {
      const name = `${topic}/${partition}`
      const from = this.#noted.get(name) ?? 0
      for (const record of this.#read(topic, partition, from)) this.#ledger.sent(record)
      this.#noted.set(name, this.log.topic(topic).end(partition))
    }
  }

  #read(topic: string, partition: number, from: number): readonly LogRecord[] {
    return this.log.topic(topic).read(partition, from, { share: Infinity, left: Infinity, atLeastOne: true })?.records ?? []
  }

  readonly #topics = new Set<string>()

  /** Topics whose records are to be noted. */
  watch(...topics: readonly string[]): void {
    for (const topic of topics) this.#topics.add(topic)
  }

  #partitions(): [topic: string, partition: number][] {
    return [...this.#topics].flatMap((topic) =>
      Array.from({ length: this.log.topic(topic).partitions }, (_, partition): [string, number] => [topic, partition]),
    )
  }
}

function streamName({ sourceEpoch, stream }: StreamClaim): string {
  return `${sourceLife(sourceEpoch).source}/${stream}`
}

function isAbove(a: Coordinate, b: Coordinate | undefined): boolean {
  return b === undefined || (a.tick - b.tick || a.seq - b.seq) > 0
}
