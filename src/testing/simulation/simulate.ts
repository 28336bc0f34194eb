import { MemoryConsumerStore } from '../../drivers/memory/memory-consumer-store.ts'
import { MemoryDatabase } from '../../drivers/memory/memory-database.ts'
import { MemoryOutboxStore } from '../../drivers/memory/memory-outbox-store.ts'
import type { ConsumerStore } from '../../consumer/port.ts'
import type { DeadLetterStore } from '../../dead-letter/port.ts'
import { topicOf } from '../../message/topic.ts'
import type { OutboxStore } from '../../outbox/port.ts'
import { channels } from '../../telemetry/channels.ts'
import { Chance } from './chance.ts'
import { type Coverage, Counts, type Happening } from './coverage.ts'
import { isPassedOn } from '../../message/passed-on.ts'
import { handledTypes, sentOf, topics } from './events.ts'
import { type FaultPlan, faultPlan } from './fault-plan.ts'
import { Ledger } from './ledger.ts'
import { KeyHolders } from './key-holders.ts'
import { Operators } from './operators.ts'
import { Schedule } from './schedule.ts'
import { SimulatedLog } from './simulated-log.ts'
import { SimulatedProcess } from './simulated-process.ts'
import { type ServiceSettings, SimulatedService } from './simulated-service.ts'
import type { Surroundings } from './surroundings.ts'
import { Trace } from './trace.ts'
import { Traffic } from './traffic.ts'

export interface SimulationOptions {
  /** Stores to put in place of the right ones, to see that they are found out. */
  readonly broken?: {
    readonly outbox?: (store: MemoryOutboxStore) => OutboxStore
    readonly consumer?: (store: MemoryConsumerStore) => ConsumerStore
    readonly letters?: (store: MemoryConsumerStore) => DeadLetterStore
  }
  /** Another mixture of faults. */
  readonly plan?: Partial<FaultPlan>
}

export interface SimulationResult {
  readonly seed: number
  /** The promise that was broken; `null`: all were kept. */
  readonly violation: string | null
  readonly messages: number
  /** How long it took in virtual time. */
  readonly virtualMs: number
  /** Equal for two runs that did the same. */
  readonly hash: string
  readonly plan: FaultPlan
  readonly coverage: Coverage
  readonly trace: readonly string[]
}

/** How long faults happen. */
const troubledMs = 6_000
/** When they have ended, everything must come to rest within this. Above the longest sum of time-outs and pauses. */
const patienceMs = 120_000
/** How long the world is watched after that: nothing may happen to the messages any more. */
const afterwardsMs = 3_000

/**
 * Runs relay and consumer as they ship, in several processes on one database and one log, through the schedule of this seed: calls take long, are
 * lost, come late; processes end, stand still, leave and come back; writers roll back. Then the faults stop, everything must come to rest, and
 * the promises are checked: each committed message on the wire, no other; effects once, in commit order per key; every message at an end.
 */
export async function simulate(seed: number, options: SimulationOptions = {}): Promise<SimulationResult> {
  const world = new World(seed, options)
  await world.run()
  return world.result()
}

class World implements Surroundings {
  readonly chance: Chance
  readonly schedule: Schedule
  readonly trace: Trace
  readonly plan: FaultPlan
  faulty = true
  /** The types whose handlers lack what they need; `null`: nobody's do. */
  #away: readonly string[] | null = null
  #areSchemasAway = false
  readonly #second: Chance
  readonly #seed: number
  readonly #counts = new Counts()
  readonly #ledger: Ledger
  readonly #operators: Operators
  readonly #holders: KeyHolders
  /** Of holds alone, so that they leave schedules without them as they are. */
  readonly #third: Chance
  readonly #outbox: MemoryOutboxStore
  readonly #log: SimulatedLog
  readonly #traffic: Traffic
  readonly #start: (process: SimulatedProcess) => SimulatedService
  readonly #services: SimulatedService[] = []
  #lives = 0

  constructor(seed: number, { broken = {}, plan }: SimulationOptions) {
    this.#seed = seed
    const chance = (this.chance = new Chance(seed))
    const schedule = (this.schedule = new Schedule(chance))
    this.trace = new Trace(() => schedule.now)
    this.#second = new Chance(seed ^ 0x5eed_5eed)
    this.#third = new Chance(seed ^ 0x401d_401d)
    this.plan = { ...faultPlan(chance, this.#second, this.#third), ...plan }
    // One that is to break a store is to do it where the order counts.
    const retryTopics = seed % 7 === 3 && Object.keys(broken).length === 0
    const ledger = (this.#ledger = new Ledger({ blamesExactly: this.plan.deadly > 0, isLoose: retryTopics }))
    const database = new MemoryDatabase({ clock: schedule.clock, step: (what) => this.#step(what) })
    this.#outbox = new MemoryOutboxStore({ database })
    const outbox = broken.outbox?.(this.#outbox) ?? this.#outbox
    const consumer = new MemoryConsumerStore({
      database,
      standstillMs: 1_500,
      append: async (tx, messages) => {
        await outbox.append(tx, messages)
        const echoes = messages.filter((message) => !isPassedOn(message))
        for (let i = echoes.length; i < messages.length; i++) this.count('passed on')
        tx.stage(() => ledger.published(echoes.map(({ id, type, aggregateId }) => sentOf(echo(id, type, aggregateId)))))
      },
    })
    this.#log = new SimulatedLog(this, ledger, chance.whole(1, 3))
    this.#operators = new Operators(this, ledger, broken.letters?.(consumer) ?? consumer.letters)
    this.#holders = new KeyHolders({ world: this, ledger, holds: consumer.holds, chance: this.#third })
    const parts = {
      world: this,
      ledger,
      outbox,
      consumer: broken.consumer?.(consumer) ?? consumer,
      log: this.#log,
      settings: { ...serviceSettings(chance), retriers: this.plan.retriers, retryTopics },
    }
    this.#start = (process) => new SimulatedService(parts, process)
    this.#traffic = new Traffic({ world: this, ledger, database, outbox, log: this.#log, wake: () => this.#wakeOne() })
  }

  count(what: Happening): void {
    this.#counts.count(what)
  }

  async run(): Promise<void> {
    const heard = (fact: unknown): void => this.#hear(fact as { readonly what: string })
    channels.consumerBreaker.subscribe(heard)
    try {
      await this.#run()
    } finally {
      channels.consumerBreaker.unsubscribe(heard)
    }
  }

  #hear({ what }: { readonly what: string }): void {
    this.trace.note('a breaker', what)
    if (what === 'opened') this.count('breaker opened')
  }

  async #run(): Promise<void> {
    const { chance, plan, schedule } = this
    await this.#log.broker.topics(topics.map((name) => ({ name })))
    this.#log.watch(...topics)
    this.#traffic.plan(plan.transactions, plan.strangers, troubledMs * 0.8)
    for (let place = 0; place < plan.processes; place++) schedule.after(chance.number() * 50, () => this.#live(place))
    this.#lead()
    await schedule.run(() => this.#isOver() || schedule.now >= troubledMs)
    this.faulty = false
    this.#away = null
    this.#areSchemasAway = false
    this.trace.note('world', 'no faults from here on')
    await this.#releaseAll()
    await this.#rest(
      () => this.#isSettled(),
      patienceMs,
      () => `not settled: ${this.#ledger.unsettled().slice(0, 5).join('; ')}`,
    )
    if (plan.mendsAll) await this.#mendAll()
    const until = schedule.now + afterwardsMs
    await schedule.run(() => this.#isOver() || schedule.now >= until)
    await this.#stopAll()
    this.#ledger.unsettled()
  }

  /** With everything mended, nothing stays dead. */
  async #mendAll(): Promise<void> {
    this.trace.note('world', 'everything is mended')
    let lastTry = Number.NEGATIVE_INFINITY
    await this.#rest(
      () => {
        if (this.schedule.now - lastTry < 500) return false
        lastTry = this.schedule.now
        void this.#operators.redriveAll()
        return this.#ledger.dead.length === 0 && this.#ledger.unsettled().length === 0
      },
      patienceMs,
      () => `not handled, though mended: ${[...this.#ledger.dead, ...this.#ledger.unsettled()].slice(0, 5).join('; ')}`,
    )
  }

  result(): SimulationResult {
    const { hash, lines } = this.trace
    return {
      seed: this.#seed,
      violation: this.#ledger.violation,
      messages: this.#ledger.size,
      virtualMs: Math.round(this.schedule.now),
      hash,
      plan: this.plan,
      coverage: this.#counts.all,
      trace: lines,
    }
  }

  /** One step of a transaction in the server. */
  #step(what: string): Promise<void> {
    const { chance, faulty, plan, schedule } = this
    const stands = faulty && chance.isSo(plan.standstill)
    if (stands) this.trace.note('server', `stands still before: ${what}`)
    return new Promise((resolve) => void schedule.after(stands ? chance.whole(100, 4_000) : chance.number(), resolve))
  }

  /** A place where a service runs: when its process ends, another one is started. */
  #live(place: number): void {
    if (this.#isStopping) return
    this.#lives += 1
    const process = new SimulatedProcess(this, `p${place}.${this.#lives}`)
    process.whenDead(() => {
      const afterMs = this.faulty ? this.chance.pick([1, 100, 2_000]) : 1
      this.schedule.after(afterMs, () => this.#live(place))
    })
    this.trace.note(process.name, 'starts')
    this.#services[place] = this.#start(process)
  }

  #isStopping = false

  /** What operators do. */
  #lead(): void {
    const { chance, plan, schedule } = this
    const ms = chance.number() * 600
    schedule.after(ms, () => {
      if (!this.faulty) return
      const service = chance.pick(this.#services)
      if (service !== undefined) {
        if (chance.isSo(plan.restarts * 0.3)) void service.stop()
        if (chance.isSo(plan.laneChanges * 0.3)) service.changeLanes(chance.whole(1, 4))
        if (chance.isSo(0.1)) void this.#releaseAll()
      }
      if (chance.isSo(plan.redrives * 0.3)) void this.#operators.act()
      if (this.#third.isSo(plan.holds * 0.3)) void this.#holders.act()
      if (chance.isSo(plan.outages * 0.3)) this.#goAway(chance.pick([50, 500, 2_500]))
      if (this.#second.isSo(plan.schemaOutages * 0.3)) this.#loseSchemas(this.#second.pick([50, 500, 2_500]))
      this.#lead()
    })
  }

  /** For so long, or until the faults end. */
  #goAway(ms: number): void {
    if (this.#away !== null) return
    const isPartial = this.#second.isSo(this.plan.partialOutages)
    this.#away = isPartial ? [this.#second.pick(handledTypes)] : handledTypes
    this.count(isPartial ? 'one of them away' : 'away')
    this.trace.note('world', `what handlers of ${this.#away.join(', ')} need is away for ${ms} ms`)
    this.schedule.after(ms, () => {
      this.#away = null
      this.trace.note('world', 'what handlers need is back')
    })
  }

  isAway(type: string): boolean {
    return this.#away?.includes(type) === true
  }

  #loseSchemas(ms: number): void {
    if (this.#areSchemasAway) return
    this.#areSchemasAway = true
    this.count('schemas away')
    this.trace.note('world', `schemas cannot be had for ${ms} ms`)
    this.schedule.after(ms, () => (this.#areSchemasAway = false))
  }

  /** Some are known to whoever asks. */
  isSchemaAway(): boolean {
    return this.#areSchemasAway && this.#second.isSo(0.5)
  }

  #wakeOne(): void {
    this.chance.pick(this.#services)?.wake()
  }

  async #releaseAll(): Promise<void> {
    for (const key of await this.#outbox.parked()) {
      // Its page may be on its way a second time: a refusal has to be the same then, or what it leaves out would be taken for a repeat.
      if (key.releasing) continue
      // Nobody releases what he has not mended, but in haste.
      if (!this.faulty || this.chance.isSo(0.7)) this.#log.mend(topicOf(key.aggregateType), key.aggregateId)
      await this.#outbox.release(key)
    }
  }

  #isOver(): boolean {
    return this.#ledger.violation !== null
  }

  #lastLook = 0

  /** Asked after every event, answered now and then. */
  #isSettled(): boolean {
    if (this.schedule.now - this.#lastLook < 100) return false
    this.#lastLook = this.schedule.now
    // A key that was parked by an answer on its way when the faults stopped.
    void this.#releaseAll()
    void this.#holders.releaseAll()
    return this.#holders.isIdle && this.#traffic.isQuiet && this.#ledger.unsettled().length === 0
  }

  async #rest(isAtRest: () => boolean, withinMs: number, otherwise: () => string): Promise<void> {
    const until = this.schedule.now + withinMs
    let rests = false
    await this.schedule.run(() => this.#isOver() || (rests = isAtRest()) || this.schedule.now >= until)
    if (!rests && !this.#isOver()) this.#ledger.violate(`after ${withinMs} ms without faults: ${otherwise()}`)
  }

  async #stopAll(): Promise<void> {
    this.#isStopping = true
    for (const service of this.#services) void service?.stop()
    await this.#rest(
      () => this.#services.every((service) => service?.process.isDead ?? true),
      30_000,
      () => 'a service does not stop',
    )
  }
}

function echo(id: string, type: string, key: string): Parameters<typeof sentOf>[0] {
  return { id, type, aggregate: 'echo', key, trouble: 'none' }
}

function serviceSettings(chance: Chance): Omit<ServiceSettings, 'retriers' | 'retryTopics'> {
  return {
    pageSize: chance.pick([1, 2, 5, 100]),
    lanes: chance.whole(1, 4),
    maxTransactions: chance.whole(1, 4),
    maxMessages: chance.pick([1, 2, 5, 100]),
    transaction: chance.pick(['batch', 'batch', 'message']),
    statements: chance.pick([1, 1, 2]),
    effectsFirst: chance.isSo(0.3),
    immediate: chance.pick([0, 1, 2]),
    sessionTimeoutMs: chance.pick([400, 3_000, 3_000]),
    leaseMs: chance.pick([400, 2_000, 2_000]),
  }
}
