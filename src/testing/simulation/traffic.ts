import type { MemoryDatabase } from '../../drivers/memory/memory-database.ts'
import type { OutboxStore } from '../../outbox/port.ts'
import { partitionOf } from '../../message/partition.ts'
import { recordHeaders } from '../../message/record-headers.ts'
import { Changed, type Draft, Noted, Told, messageOf, sentOf, unrouted } from './events.ts'
import type { Ledger, Trouble } from './ledger.ts'
import type { SimulatedLog } from './simulated-log.ts'
import type { Surroundings } from './surroundings.ts'

interface TrafficParts {
  readonly world: Surroundings
  readonly ledger: Ledger
  readonly database: MemoryDatabase
  readonly outbox: OutboxStore
  readonly log: SimulatedLog
  /** Somebody has committed. */
  readonly wake: () => void
}

/** Writers, whose transactions begin early and commit late, or not at all; and programs that are not ours. */
export class Traffic {
  readonly #parts: TrafficParts
  readonly #keys: readonly string[]
  #ids = 0
  #open = 0

  constructor(parts: TrafficParts) {
    this.#parts = parts
    this.#keys = Array.from({ length: parts.world.chance.whole(1, 6) }, (_, i) => `k${i}`)
  }

  /** No transaction is open. */
  get isQuiet(): boolean {
    return this.#open === 0
  }

  /** Lets all of it begin within this time. */
  plan(transactions: number, strangers: number, withinMs: number): void {
    const { chance, schedule } = this.#parts.world
    this.#open = transactions
    for (let i = 0; i < transactions; i++) schedule.after(chance.number() * withinMs, () => void this.#write())
    for (let i = 0; i < strangers; i++) schedule.after(chance.number() * withinMs, () => this.#tell(withinMs))
  }

  async #write(): Promise<void> {
    const { world, ledger, database, outbox, wake } = this.#parts
    const { chance, plan, trace } = world
    const tx = database.begin()
    const drafts = Array.from({ length: chance.pick([1, 1, 1, 2, 3, 5]) }, () => this.#draft())
    const name = drafts.map(({ id }) => id).join(' ')
    const long = chance.isSo(plan.longTransaction)
    const isRolledBack = chance.isSo(plan.rollBack)
    await this.#wait(long ? 1_500 : 2)
    await outbox.append(tx, drafts.map(messageOf))
    trace.note('writer', `appends ${name}`)
    await this.#wait(long ? 1_500 : 2)
    if (isRolledBack) tx.rollBack()
    else {
      tx.stage(() => ledger.published(drafts.map((draft) => sentOf(draft, { echo: echoOf(draft) }))))
      tx.commit()
      if (chance.isSo(0.5)) wake()
    }
    trace.note('writer', `${isRolledBack ? 'rolls back' : 'commits'} ${name}`)
    this.#open -= 1
  }

  #draft(): Draft {
    const { chance, plan } = this.#parts.world
    const type = chance.pick([Changed.type, Changed.type, Changed.type, Noted.type, Noted.type, unrouted])
    const dice = chance.number()
    const trouble = ((): Trouble => {
      let sum = 0
      for (const one of ['poison', 'flaky', 'unreadable', 'refused', 'later', 'hanging', 'deadly'] as const)
        if (dice < (sum += plan[one])) return one
      return 'none'
    })()
    // Nobody reads what nobody handles.
    return { id: this.#id('m'), type, aggregate: 'thing', key: chance.pick(this.#keys), trouble: type === unrouted ? 'none' : trouble }
  }

  /** One message, perhaps sent again later: with an id, and without a place in a stream. */
  #tell(withinMs: number): void {
    const { world, ledger, log } = this.#parts
    const { chance, schedule, trace } = world
    const key = chance.isSo(0.5) ? chance.pick(this.#keys) : null
    const draft: Draft = { id: this.#id('f'), type: Told.type, aggregate: 'told', key, trouble: 'none' }
    const bytes = key === null ? null : Buffer.from(key)
    const { partitions } = log.log.topic(Told.topic)
    const partition = bytes === null ? chance.whole(0, partitions - 1) : partitionOf(bytes, partitions)
    const message = messageOf(draft)
    const record = {
      topic: Told.topic,
      partition,
      key: bytes,
      value: message.payload,
      headers: recordHeaders(message, null),
      coordinate: null,
    }
    ledger.published([sentOf(draft, { foreign: true })])
    for (let copies = chance.pick([1, 1, 2, 3]); copies > 0; copies--) {
      schedule.after(copies === 1 ? 0 : chance.pick([1, 20, withinMs * chance.number()]), () => {
        trace.note('stranger', `sends ${draft.id}`)
        log.append(record)
      })
    }
  }

  #id(kind: string): string {
    this.#ids += 1
    return `${kind}${this.#ids}`
  }

  #wait(mostMs: number): Promise<void> {
    const { chance, schedule } = this.#parts.world
    return new Promise((resolve) => void schedule.after(chance.number() * mostMs, resolve))
  }
}

/** Every message of this kind is answered by its handler. */
function echoOf({ id, type }: Draft): string | null {
  return type === Changed.type ? `e-${id}` : null
}
