import {
  type BatchHandler,
  type ConsumerOptions,
  type Handler,
  type HandlerOptions,
  KeyDesk,
  type MessageHandler,
  onBatch,
  onMessage,
} from '../consumer/index.ts'
import { DeadLetterManager } from '../dead-letter/dead-letter-manager.ts'
import { TidemarkError } from '../errors.ts'
import type { Ledger } from '../inbox/index.ts'
import type { EventDefinition, EventInput, MessageOptions } from '../message/index.ts'
import type { Row, Transaction } from '../message/transaction.ts'
import type { Audit, OperationRunner, Operations } from '../operation/index.ts'
import { type ServiceOptions, checkConsume, checkService } from './options.ts'
import { type PublishEntry, Publisher } from './publisher.ts'
import { redriveHorizon } from './service-operations.ts'
import { type Flow, type Flowing, type SettledOptions, settled } from './settled.ts'
import { type OpenService, flowOf, openService, readByGroup } from './open-service.ts'
import { type LagOptions, type PartitionLag, partitionLags } from './partition-lag.ts'
import { type Running, checkGroups, startService } from './running.ts'
import { lazyLedger } from './service-ledger.ts'
import { type ServiceOperations, lazyOperations, startOperations } from './service-operations.ts'
import { ServiceTransaction } from './service-transaction.ts'
import { type ServiceStatus, statusOf } from './status.ts'

/** How one event is consumed. */
export interface ConsumeOptions extends HandlerOptions {
  /** A group of its own sees every message again, independently. @default the service's group */
  readonly group?: string
  /** Where a new group begins. A group that has a position goes on there. Settings of one group must agree. @default 'earliest' */
  readonly startFrom?: NonNullable<ConsumerOptions['startFrom']>
  /** Whom the dead letters of the group concern: a team, a person. @default that of the service's `consumer` */
  readonly owner?: string
  /** Where it is written what to do about them. @default that of the service's `consumer` */
  readonly runbook?: string
}

/** What wants to be consumed, until the service starts. */
export interface Consumption {
  readonly group: string
  readonly startFrom: ConsumerOptions['startFrom']
  readonly handler: Handler
  readonly owner: string | undefined
  readonly runbook: string | undefined
}

/**
 * A service: its own database, events out through the outbox, events in with effects once.
 *
 * Lazy: the first `transaction`, `query` or `start` opens it. Handlers run, and the outbox is relayed, from `start` on. Make it with `service`.
 */
export class Service implements Flowing, AsyncDisposable {
  readonly name: string
  /** The messages that could not be handled: counted, looked at, given back. Opens the service at its first use. */
  readonly deadLetters: DeadLetterManager
  /** Keys of this service's groups that somebody holds. Opens the service at its first use. */
  readonly keys: KeyDesk
  /**
   * Where calls to the outside are noted, for `once` and `idempotent` of `tidemark/inbox`. In the service's database, on connections of its own. A
   * call made in a handler is that of the handler's group, every other one that of the service's group.
   */
  readonly ledger: Ledger
  /** Long-running work that is planned, run, watched and stopped: `redrive`, and kinds of your own. Opens the service at its first use. */
  readonly operations: Operations
  /** Who did what. */
  readonly audit: Audit
  readonly #operations: ServiceOperations
  readonly #options: ServiceOptions
  readonly #publisher: Publisher
  readonly #consumptions: Consumption[] = []
  #opening: Promise<OpenService> | null = null
  #starting: Promise<Running> | null = null
  #running: Running | null = null
  #runner: OperationRunner | null = null
  #stopping: Promise<void> | null = null

  constructor(name: string, options: ServiceOptions) {
    checkService(name, options)
    this.name = name
    this.#options = options
    this.#publisher = new Publisher(options.source ?? name)
    const definitions = (): readonly EventDefinition[] => this.#consumptions.map(({ handler }) => handler.definition)
    this.#operations = lazyOperations(
      () => this.#open(),
      options,
      definitions,
      () => this.#runner?.wake(),
    )
    this.operations = this.#operations.operations
    this.audit = this.#operations.audit
    this.deadLetters = new DeadLetterManager({
      store: async () => (await this.#open()).database.deadLetters,
      actor: name,
      audit: this.audit,
      horizon: redriveHorizon(options, () => this.#open()),
    })
    this.keys = new KeyDesk({
      store: async () => (await this.#open()).database.holds,
      group: options.group ?? name,
      actor: name,
      audit: this.audit,
    })
    this.ledger = lazyLedger(
      options.group ?? name,
      (group) => this.#consumptions.some((one) => one.group === group),
      async () => (await this.#open()).database.ledger,
    )
  }

  /**
   * Handles every message of this event once per group, in order per key. What the handler does through `context.tx` commits together with the
   * position; what it does elsewhere may happen again. Before `start` only. Throws `CONFIG_INVALID` for what the group could not start with.
   */
  consume<Definition extends EventDefinition>(definition: Definition, handler: MessageHandler<Definition>): this
  consume<Definition extends EventDefinition>(
    definition: Definition,
    options: ConsumeOptions & { readonly batch?: false },
    handler: MessageHandler<Definition>,
  ): this
  consume<Definition extends EventDefinition>(
    definition: Definition,
    options: ConsumeOptions & { readonly batch: true },
    handler: BatchHandler<Definition>,
  ): this
  consume<Definition extends EventDefinition>(
    definition: Definition,
    second: MessageHandler<Definition> | (ConsumeOptions & { readonly batch?: boolean }),
    third?: MessageHandler<Definition> | BatchHandler<Definition>,
  ): this {
    if (this.#starting !== null) throw new TidemarkError('CONFIG_INVALID', `${this.name}.consume(${definition.type}) came after start.`)
    if (typeof second !== 'function') checkConsume(`${this.name}.consume(${definition.type})`, second)
    const given = typeof second === 'function' ? {} : second
    const { group = this.#options.group ?? this.name, startFrom, batch = false, owner, runbook, ...options } = given
    const handle = typeof second === 'function' ? second : third
    if (typeof handle !== 'function')
      throw new TidemarkError('CONFIG_INVALID', `${this.name}.consume(${definition.type}) takes a handler last.`)
    const handler = batch
      ? onBatch(definition, handle as BatchHandler<Definition>, options)
      : onMessage(definition, handle as MessageHandler<Definition>, options)
    const consumption = { group, startFrom, handler, owner, runbook }
    checkGroups([...this.#consumptions, consumption], this.#options)
    this.#consumptions.push(consumption)
    return this
  }

  /**
   * Runs `work` in a transaction of the service's database and commits it together with what it published. What `work` throws rolls back.
   * Rejects with `COMMIT_UNKNOWN` when the connection broke during the commit.
   *
   * What `work` asked for before it ended belongs to the transaction, awaited or not. Afterwards `tx` takes nothing any more
   * (`TRANSACTION_CLOSED`), and what comes between the end of `work` and the commit makes the transaction fail. Commands that begin or end a
   * transaction are refused (`INPUT_INVALID`); savepoints are fine.
   */
  async transaction<T>(work: (tx: Transaction) => Promise<T>): Promise<T> {
    const { database } = await this.#open()
    let published = 0
    let own: ServiceTransaction | null = null
    const result = await database.transaction(
      (tx) => (own = new ServiceTransaction(tx)).run(work),
      async () => {
        const messages = await own!.published()
        published = messages.length
        return messages
      },
    )
    if (published > 0) this.#running?.wake()
    return result
  }

  /**
   * Publishes an event in this transaction: it is sent if, and only if, the transaction commits. Rejects with `EVENT_INVALID` when the data does
   * not satisfy the schema; a transaction of the service's rolls back then, also when the rejection was swallowed.
   *
   * In a transaction of the service's, a handler's included, the event is taken at the call and waits for the end of the transaction. A rollback
   * to a savepoint takes it back, if savepoints are made and rolled back to by `tx.query`; one made by `tx.raw` cannot be seen.
   *
   * In a transaction you began yourself it is written, and the key's lock taken, at this call: publish last, and several at once with
   * `publishAll`.
   */
  publish<Definition extends EventDefinition>(
    tx: Transaction,
    definition: Definition,
    data: EventInput<Definition>,
    options: MessageOptions = {},
  ): Promise<void> {
    return this.publishAll(tx, [{ ...options, event: definition, data }])
  }

  /** Publishes several events in this order, with one lock of all their keys. */
  publishAll(tx: Transaction, entries: readonly PublishEntry[]): Promise<void> {
    return this.#publisher.publish(tx, entries, async () => (await this.#open()).database.outbox)
  }

  /** One statement on the service's database, outside a transaction. */
  async query<R extends Row = Row>(text: string, params?: readonly unknown[]): Promise<R[]> {
    const { database } = await this.#open()
    return database.query<R>(text, params)
  }

  /**
   * Opens the service and starts handling and relaying. Rejects with `DATABASE_UNREACHABLE` or `BROKER_UNREACHABLE`, and nothing runs then: it may be called again,
   * in a loop while the server starts or recovers. Once started, outages are waited out.
   */
  async start(): Promise<void> {
    if (this.#stopping !== null) throw this.#stopped()
    this.#starting ??= this.#start()
    try {
      await this.#starting
    } catch (error) {
      this.#starting = null
      throw error
    }
  }

  /**
   * Finishes what is in flight, gives partitions, locks and connections back. Nothing of the service runs afterwards. What is in the outbox
   * stays there for the next start, or for another process. A second call waits for the first. A broker and a pool that were given stay open: close them
   * yourself, once no service uses them.
   */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop()
    return this.#stopping
  }

  /**
   * Resolves when this service's outbox is published and its groups have handled all that is in their topics, what came meanwhile included.
   * For several services use `settled([a, b])`.
   */
  settled(options?: SettledOptions): Promise<void> {
    return settled([this], options)
  }

  /** One look at what is on its way; see `settled`. */
  async flow(): Promise<Flow> {
    return flowOf(await this.#open(), this.#consumptions, this.#running, this.#options)
  }

  /** Can it work: the database answers, and consumers and relay have not ended. */
  async ready(): Promise<boolean> {
    if (this.#running === null || !this.live()) return false
    return this.query('select 1').then(
      () => true,
      () => false,
    )
  }

  /** `false` once a consumer or the relay has ended by an error; then only a restart helps, after its cause. */
  live(): boolean {
    return (this.#running?.failure ?? null) === null
  }

  /**
   * Resolves after `stop`. Rejects when a consumer or the relay stopped loudly, and if nobody listens here the process ends by it, which is
   * meant: going on would lose or repeat.
   */
  get done(): Promise<void> {
    return this.#running?.done ?? Promise.resolve()
  }

  /** Counters since the start, and what waits. */
  async status(): Promise<ServiceStatus> {
    return statusOf(await this.#open(), this.#consumptions, this.#running, this.#options)
  }

  /**
   * How far each group of this service is behind in each partition, in messages and seconds, with the keys that have the most waiting. Reads a
   * sample of the backlog; the service need not be started.
   */
  async lag(options: LagOptions = {}): Promise<readonly PartitionLag[]> {
    const open = await this.#open()
    const read = [...readByGroup(this.#consumptions, this.#options)]
    const lags = read.map(([group, topics]) => partitionLags(open, group, topics, options, Date.now()))
    return (await Promise.all(lags)).flat()
  }

  /** How to look inside an embedded database, with its password; `null` for one that was given. Opens the service. */
  async connectionString(): Promise<string | null> {
    return (await this.#open()).connectionString
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  #open(): Promise<OpenService> {
    if (this.#stopping !== null) return Promise.reject(this.#stopped())
    const opening = (this.#opening ??= openService(this.name, this.#options))
    // A failed opening is not kept: the next call tries again.
    opening.catch(() => {
      if (this.#opening === opening) this.#opening = null
    })
    return opening
  }

  async #start(): Promise<Running> {
    const open = await this.#open()
    this.#running = await startService(open, this.#options, this.#consumptions)
    this.#runner = startOperations(open, this.#options, { kinds: this.#operations.kinds, consumes: this.#consumptions.length > 0 })
    return this.#running
  }

  async #stop(): Promise<void> {
    const opening = this.#opening
    await this.#starting?.catch(() => undefined)
    await this.#runner?.stop()
    await this.#running?.stop()
    await opening?.then(
      (open) => open.close(),
      () => undefined,
    )
  }

  #stopped(): TidemarkError {
    return new TidemarkError('SERVICE_STOPPED', `The service "${this.name}" is stopped.`, { remedy: 'Make a new one with service().' })
  }
}

/**
 * Makes a service. Nothing is opened yet.
 *
 * ```ts
 * const shop = service('shop')                                          // embedded Postgres
 * const grown = service('shop', { database: postgres({ pool }), broker })
 * ```
 */
export function service(name: string, options: ServiceOptions = {}): Service {
  return new Service(name, options)
}
