/**
 * One Kafka broker of a directory, kept between runs: started when it is needed, shared by the processes that use the directory, adopted after one
 * of them was killed, started again with the same data and port when it dies, and stopped by the last clean release.
 *
 * ```ts
 * const lease = await keptKafka({ directory: '.tidemark/kafka' }).acquire()
 * lease.brokers                      // ['127.0.0.1:23117']
 * await lease.release()
 * ```
 *
 * @module
 */
import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { makeHome } from '../src/drivers/postgres/embedded/home.ts'
import { liveLeases, writeLease } from '../src/drivers/postgres/embedded/leases.ts'
import { withLock } from '../src/drivers/postgres/embedded/lock.ts'
import { kafkaJars } from './jar-sets.ts'
import { findJava } from './java.ts'
import { type BringUpOptions, bringUpBroker } from './kept/bring-up.ts'
import { findBroker, type KeptBroker, readBroker } from './kept/broker-file.ts'
import { homeAt, type KeptHome } from './kept/home.ts'
import { stopBroker } from './kept/stop.ts'
import { jars } from './maven.ts'

export interface KeptKafkaOptions {
  /** Holds data, ports, log, lock and leases. */
  readonly directory: string
  /** Give up after this long when the broker does not answer. @default 120,000 ms */
  readonly startTimeoutMs?: number
  /** How often a lease looks whether the broker still runs. @default 500 ms */
  readonly watchMs?: number
  /** Told what takes time, and that the broker died. @default standard error */
  readonly say?: (line: string) => void
  /** Where Java and Maven are looked for. @default process.env */
  readonly environment?: NodeJS.ProcessEnv
}

/** Lazy: nothing is touched before the first call. */
export interface KeptKafka {
  readonly directory: string
  /** Makes sure that the broker runs, and keeps it running until `release`. Rejects with what is missing, or with the end of the broker's log. */
  acquire(): Promise<KeptKafkaLease>
  /** The broker's process, or `null` while none runs. */
  broker(): Promise<KeptBroker | null>
  /** Stops the broker whoever uses it, and deletes all it has. For tests and operators. */
  remove(): Promise<void>
}

/** One user's hold on the broker. While it lasts, a broker that died is started again. */
export interface KeptKafkaLease {
  /** As `host:port`. The same for the life of the lease. */
  readonly brokers: readonly string[]
  /** Gives up the hold; close your connections first. The last one stops the broker. A second call does nothing. */
  release(): Promise<void>
}

/** Another process may hold the lock while it starts or stops the broker. */
const lockMarginMs = 60_000

/** The Kafka broker of a directory. */
export function keptKafka(options: KeptKafkaOptions): KeptKafka {
  const home = homeAt(options.directory)
  return {
    directory: home.directory,
    acquire: () => KeptLease.open(home, options),
    broker: () => findBroker(home),
    remove: async () => {
      if (!existsSync(home.directory)) return
      await locked(home, options, () => stopBroker(home, 0))
      await rm(home.directory, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}

class KeptLease implements KeptKafkaLease {
  readonly brokers: readonly string[]
  readonly #home: KeptHome
  readonly #options: KeptKafkaOptions
  readonly #note: string
  readonly #port: number
  readonly #watch: NodeJS.Timeout
  #reviving: Promise<void> | null = null
  #released: Promise<void> | null = null

  private constructor(home: KeptHome, options: KeptKafkaOptions, note: string, broker: KeptBroker) {
    this.#home = home
    this.#options = options
    this.#note = note
    this.#port = broker.port
    this.brokers = [`127.0.0.1:${broker.port}`]
    this.#watch = setInterval(() => (this.#reviving ??= this.#revive()), options.watchMs ?? 500).unref()
  }

  static async open(home: KeptHome, options: KeptKafkaOptions): Promise<KeptLease> {
    await bringJars(options)
    await makeHome(home)
    return locked(home, options, async () => {
      const others = await liveLeases(home.leases)
      const note = await writeLease(home.leases)
      try {
        const port = others.length === 0 ? null : ((await readBroker(home))?.port ?? null)
        const broker = await bringUpBroker(home, await startOptions(options, port))
        return new KeptLease(home, options, note, broker)
      } catch (error) {
        await rm(note, { force: true })
        throw error
      }
    })
  }

  release(): Promise<void> {
    this.#released ??= this.#release()
    return this.#released
  }

  async #release(): Promise<void> {
    clearInterval(this.#watch)
    await this.#reviving
    if (!existsSync(this.#home.directory)) return
    await locked(this.#home, this.#options, async () => {
      await rm(this.#note, { force: true })
      if ((await liveLeases(this.#home.leases)).length === 0) await stopBroker(this.#home)
    })
  }

  async #revive(): Promise<void> {
    const say = sayOf(this.#options)
    try {
      if ((await findBroker(this.#home)) !== null) return
      await locked(this.#home, this.#options, async () => {
        if (this.#released !== null || (await findBroker(this.#home)) !== null) return
        say('The Kafka broker is not running any more; it is started again.')
        await bringUpBroker(this.#home, await startOptions(this.#options, this.#port))
      })
    } catch (error) {
      // The next look tries again.
      say(error instanceof Error ? error.message : String(error))
    } finally {
      this.#reviving = null
    }
  }
}

async function startOptions(options: KeptKafkaOptions, port: number | null): Promise<BringUpOptions> {
  const { environment, startTimeoutMs = 120_000 } = options
  return { java: findJava(environment), jars: await bringJars(options), startTimeoutMs, port }
}

function bringJars(options: KeptKafkaOptions): Promise<string> {
  const { environment } = options
  findJava(environment)
  return jars(kafkaJars, { say: sayOf(options), ...(environment === undefined ? {} : { environment }) })
}

function sayOf({ say }: KeptKafkaOptions): (line: string) => void {
  return say ?? ((line) => process.stderr.write(`${line}\n`))
}

async function locked<T>(home: KeptHome, { startTimeoutMs = 120_000 }: KeptKafkaOptions, work: () => Promise<T>): Promise<T> {
  const patienceMs = startTimeoutMs + lockMarginMs
  let begun = false
  try {
    return await withLock(home.lock, patienceMs, () => {
      begun = true
      return work()
    })
  } catch (cause) {
    if (begun) throw cause
    const who = `Another process has been starting or stopping the Kafka broker in ${home.directory} for ${patienceMs / 1_000} s`
    throw new Error(`${who}. If it hangs or is suspended, continue or end it (its number is in ${home.lock}).`, { cause })
  }
}
