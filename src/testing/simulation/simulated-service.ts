import { type Consumer, type Handler, type HandlerContext, bufferPublish, onBatch, onMessage, runConsumer } from '../../consumer/index.ts'
import type { ConsumerStore } from '../../consumer/port.ts'
import { pause } from '../../internal/clock.ts'
import { type OutboxStore, type Relay, runRelay } from '../../outbox/index.ts'
import { TidemarkError } from '../../errors.ts'
import { type Codec, type EventDefinition, jsonCodec } from '../../message/index.ts'
import type { Message } from '../../message/message.ts'
import type { Transaction } from '../../message/transaction.ts'
import { RetryLater } from '../../retry/index.ts'
import { Changed, Echoed, Noted, Told, messageOf } from './events.ts'
import { type Ledger, type Trouble, awayReason } from './ledger.ts'
import { SimulatedBroker } from './simulated-broker.ts'
import { SimulatedConsumerStore } from './simulated-consumer-store.ts'
import type { SimulatedLog } from './simulated-log.ts'
import { SimulatedOutboxStore } from './simulated-outbox-store.ts'
import type { SimulatedProcess } from './simulated-process.ts'
import type { Surroundings } from './surroundings.ts'

export interface ServiceParts {
  readonly world: Surroundings
  readonly ledger: Ledger
  readonly outbox: OutboxStore
  readonly consumer: ConsumerStore
  readonly log: SimulatedLog
  readonly settings: ServiceSettings
}

/** Alike in all processes of a schedule. */
export interface ServiceSettings {
  readonly pageSize: number
  readonly lanes: number
  readonly maxTransactions: number
  readonly maxMessages: number
  readonly transaction: 'batch' | 'message'
  /** A short one makes owners that are given up while they work. */
  readonly sessionTimeoutMs: number
  readonly leaseMs: number
  /** Handlers that make two statements get into each other's way when they run side by side. */
  readonly statements: 1 | 2
  /** Handlers fail after they have done something. */
  readonly effectsFirst: boolean
  readonly immediate: number
  readonly retriers: number
  /** Failed messages wait in topics. */
  readonly retryTopics: boolean
}

/** One life of a service: a process with the relay and the consumer that ship. */
export class SimulatedService {
  readonly process: SimulatedProcess
  readonly #parts: ServiceParts
  readonly #relay: Relay
  readonly #consumer: Consumer
  readonly #busy = new WeakMap<AbortSignal, Set<string>>()
  #isStopping = false

  /** `process` runs nothing yet; it may end at the first call. */
  constructor(parts: ServiceParts, process: SimulatedProcess) {
    const { world, ledger, log, settings } = parts
    const { name } = process
    this.#parts = parts
    this.process = process
    const { clock } = this.process
    const broker = new SimulatedBroker(this.process, log)
    this.#relay = runRelay({
      store: new SimulatedOutboxStore(this.process, parts.outbox),
      broker,
      clock,
      pageSize: settings.pageSize,
      idleMs: 300,
      leaseMs: settings.leaseMs,
      maintain: false,
    })
    this.#consumer = runConsumer({
      group: 'readers',
      store: new SimulatedConsumerStore(world, this.process, parts.consumer, ledger),
      broker,
      clock,
      handlers: this.#handlers(),
      lanes: settings.lanes,
      maxTransactions: settings.maxTransactions,
      batch: { maxMessages: settings.maxMessages },
      retry: { maxAttempts: 3, baseDelayMs: 100, maxDelayMs: 1_000, immediate: settings.immediate },
      breaker: { outageKeys: 1, probeAfterMs: 100, maxProbeAfterMs: 500 },
      ...(settings.retryTopics ? { retryTopics: { delaysMs: [50, 300] }, onPublished: () => this.#relay.wake() } : {}),
      retriers: settings.retriers,
      retryPollMs: 400,
      retryLeaseMs: 1_500,
      timeoutMs: 2_000,
      drainMs: 1_000,
      sessionTimeoutMs: settings.sessionTimeoutMs,
      lockTimeoutMs: 500,
    })
    // Nothing that is simulated is a reason to stop for good.
    this.#relay.done.catch((error: unknown) => ledger.violate(`the relay of ${name} has ended: ${String(error)}`))
    this.#consumer.done.catch((error: unknown) => ledger.violate(`the consumer of ${name} has ended: ${String(error)}`))
  }

  wake(): void {
    if (!this.process.isDead) this.#relay.wake()
  }

  changeLanes(count: number): void {
    if (!this.process.isDead) this.#consumer.changeLanes(count)
  }

  /** Stops in order, and then its process ends. */
  async stop(): Promise<void> {
    if (this.#isStopping || this.process.isDead) return
    this.#isStopping = true
    this.#parts.world.trace.note(this.process.name, 'is asked to stop')
    await Promise.all([this.#consumer.stop(), this.#relay.stop()])
    this.process.kill()
  }

  #handlers(): readonly Handler[] {
    const { transaction, retryTopics } = this.#parts.settings
    const deadLetter = retryTopics ? 'skip' : 'block'
    const read = <Definition extends EventDefinition>(definition: Definition): Definition => ({ ...definition, codec: this.#codec })
    return [
      onMessage(read(Changed), (message, context) => this.#handleAlone(message, context), { deadLetter, transaction }),
      onMessage(read(Noted), (message, context) => this.#handleAlone(message, context), { deadLetter: 'skip' }),
      onMessage(read(Told), (message, context) => this.#handleAlone(message, context)),
      onBatch(read(Echoed), async (messages, { tx }) => {
        for (const message of messages) await this.#handle(message, tx)
      }),
    ]
  }

  /** As one that knows some schemas, and has to ask a registry for the others. */
  get #codec(): Codec {
    const { world } = this.#parts
    return {
      ...jsonCodec,
      decode: (bytes, contentType) => {
        if (world.isSchemaAway()) throw new TidemarkError('SCHEMA_UNAVAILABLE', 'The registry is away.')
        return jsonCodec.decode(bytes, contentType)
      },
    }
  }

  /** No other message of its key may be under way in the same run of a batch, each of which has a signal of its own. */
  async #handleAlone(message: Message, { tx, signal }: HandlerContext): Promise<void> {
    const { ledger } = this.#parts
    const busy = this.#busy.get(signal) ?? new Set<string>()
    this.#busy.set(signal, busy)
    const key = `${message.type === Told.type ? Told.aggregate : Changed.aggregate}/${message.key ?? message.id}`
    if (busy.has(key)) ledger.violate(`P2: ${message.id} ran beside another message of ${key}`)
    busy.add(key)
    try {
      await this.#handle(message, tx)
    } finally {
      busy.delete(key)
    }
  }

  async #trouble(id: string, trouble: Trouble): Promise<void> {
    const { world } = this.#parts
    const { chance } = world
    if (trouble === 'poison' || (trouble === 'flaky' && chance.isSo(0.5))) throw new Error(`${id} cannot be handled`)
    if (trouble === 'later' && chance.isSo(0.5)) {
      world.count('asked for later')
      throw new RetryLater(chance.number() * 300)
    }
    if (trouble === 'hanging' && chance.isSo(0.5)) {
      world.count('timed out')
      await new Promise(() => undefined)
    }
    if (trouble === 'deadly') {
      world.count('ended by a handler')
      this.process.kill()
      await new Promise(() => undefined)
    }
  }

  async #handle({ id, key, type }: Message, tx: Transaction): Promise<void> {
    const { world, ledger, settings } = this.#parts
    const { chance } = world
    const trouble = ledger.isMended(id) ? 'none' : ledger.trouble(id)
    if (chance.isSo(world.plan.slowHandlers)) await pause(this.process.clock, chance.number() * 100)
    if (settings.effectsFirst) await tx.query('effect', [id])
    if (world.isAway(type)) {
      ledger.runsAgain(id)
      throw Object.assign(new Error(awayReason), { code: 'ECONNREFUSED' })
    }
    await this.#trouble(id, trouble)
    if (!settings.effectsFirst) await tx.query('effect', [id])
    if (settings.statements === 2) await tx.query('nothing', [id])
    const echo = ledger.echo(id)
    if (echo !== null) bufferPublish(tx, messageOf({ id: echo, type: Echoed.type, aggregate: 'echo', key, trouble: 'none' }))
  }
}
