/**
 * Kafka Connect with Debezium's Postgres connector: the relay that is not ours, to work beside and to be compared with.
 *
 * ```ts
 * const connect = await startConnect({ kafka })
 * await connect.createConnector('outbox', { 'connector.class': 'io.debezium.connector.postgresql.PostgresConnector', … })
 * await connect.stop()
 * ```
 *
 * @module
 */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { freePort } from '../src/drivers/postgres/embedded/port.ts'
import { ConnectRest, type ConnectorConfig, type ConnectorStatus } from './connect-rest.ts'
import { makeHome, noteProcess, removeHome } from './home.ts'
import { connectJars } from './jar-sets.ts'
import { logFlags } from './java-log.ts'
import { JavaProcess, type JavaServer, type Speed, speedFlags } from './java-process.ts'
import { type Settings, propertiesFile } from './kafka-settings.ts'
import { jars } from './maven.ts'
import { type ProcessUsage, usageOf } from './process-usage.ts'

export interface ConnectOptions {
  /** Where it writes. */
  readonly kafka: { readonly brokers: readonly string[] }
  /** The largest heap, in MiB. Kafka's own script gives it 2048. @default 512 */
  readonly heapMb?: number
  /** `full` is how Kafka's own scripts set up Java, for benches. @default 'quick' */
  readonly speed?: Speed
  /** More settings of the worker. They win over ours. */
  readonly properties?: Settings
  /** Where Java and Maven are looked for. @default process.env */
  readonly environment?: NodeJS.ProcessEnv
}

/** A start takes four seconds on an idle machine; these only end what hangs. */
const startLimitMs = 120_000
const runningLimitMs = 60_000
const stopLimitMs = 20_000

/** Starts a worker of its own, in standalone mode and without connectors. Resolves once its REST interface answers. */
export async function startConnect(options: ConnectOptions): Promise<Connect> {
  const { kafka, environment, heapMb = 512, speed = 'quick' } = options
  const folder = await jars(connectJars, environment === undefined ? {} : { environment })
  const directory = await makeHome('connect')
  const url = `http://127.0.0.1:${await freePort(null, new Set())}`
  const settings = join(directory, 'worker.properties')
  const connect = new Connect(url, {
    jars: folder,
    mainClass: 'org.apache.kafka.connect.cli.ConnectStandalone',
    args: [settings],
    heapMb,
    flags: [...speedFlags[speed], ...logFlags('info')],
    directory,
    logFile: join(directory, 'connect.log'),
    ...(environment === undefined ? {} : { environment }),
  })
  try {
    await writeFile(settings, propertiesFile({ ...workerSettings(directory, url, kafka.brokers), ...options.properties }))
    await connect.start()
  } catch (error) {
    await connect.stop()
    throw error
  }
  return connect
}

function workerSettings(directory: string, url: string, brokers: readonly string[]): Settings {
  return {
    'bootstrap.servers': brokers.join(),
    listeners: url,
    'plugin.discovery': 'service_load',
    'key.converter': 'org.apache.kafka.connect.json.JsonConverter',
    'value.converter': 'org.apache.kafka.connect.json.JsonConverter',
    'offset.storage.file.filename': join(directory, 'offsets'),
    'offset.flush.interval.ms': 1_000,
  }
}

/** A worker that runs. Its offsets and its connectors outlive a kill; `stop()` removes them. */
export class Connect implements AsyncDisposable {
  /** Of its REST interface. */
  readonly url: string
  readonly #server: JavaServer
  readonly #rest: ConnectRest
  /** A standalone worker forgets them when it ends. */
  readonly #connectors = new Map<string, ConnectorConfig>()
  #process: JavaProcess | null = null

  constructor(url: string, server: JavaServer) {
    this.url = url
    this.#server = server
    this.#rest = new ConnectRest(url)
  }

  /** The process, or `null` while it does not run. */
  get pid(): number | null {
    return this.#process?.isRunning === true ? this.#process.pid : null
  }

  /** Makes a connector, or changes its settings. Resolves once it and its tasks run; rejects with what Connect says if they fail. */
  async createConnector(name: string, config: ConnectorConfig): Promise<void> {
    await this.#rest.put(name, config)
    this.#connectors.set(name, config)
    await this.#untilRunning(name)
  }

  /** Ends a connector. Its offsets stay. */
  async deleteConnector(name: string): Promise<void> {
    await this.#rest.remove(name)
    this.#connectors.delete(name)
  }

  /** What Connect says of a connector and its tasks, or `null` if it has none of that name. */
  status(name: string): Promise<ConnectorStatus | null> {
    return this.#rest.status(name)
  }

  /** Where its log and its offsets are. Removed by `stop()`. */
  get directory(): string {
    return this.#server.directory
  }

  /** What it has logged over all its starts. */
  log(): Promise<string> {
    return readFile(this.#server.logFile, 'utf8')
  }

  /** Its memory and CPU time since it started. */
  usage(): Promise<ProcessUsage> {
    if (this.pid === null) throw new Error('Kafka Connect does not run.')
    return usageOf(this.pid)
  }

  /** Starts it, with the connectors and offsets it had. Nothing happens if it runs. */
  async start(): Promise<void> {
    if (this.pid !== null) return
    const started = await JavaProcess.start(this.#server)
    this.#process = started
    await noteProcess(this.#server.directory, 'connect', started.pid)
    await this.#until('answered', startLimitMs, () => this.#rest.answers())
    for (const [name, config] of this.#connectors) await this.createConnector(name, config)
  }

  /** Ends it at once with SIGKILL. `restart()` brings it back. */
  async kill(): Promise<void> {
    await this.#process?.kill()
  }

  /** Ends it cleanly, if it runs, and starts it again on the same port. */
  async restart(): Promise<void> {
    await this.#process?.end(stopLimitMs)
    await this.start()
  }

  /** Ends it and removes all it had. */
  async stop(): Promise<void> {
    await this.#process?.end(stopLimitMs)
    await removeHome(this.#server.directory)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  async #untilRunning(name: string): Promise<void> {
    await this.#until(`ran connector ${name}`, runningLimitMs, async () => {
      const status = await this.status(name)
      if (status === null || status.tasks.length === 0) return false
      const failed = [status.connector, ...status.tasks].find(({ state }) => state === 'FAILED')
      if (failed !== undefined) throw new Error(`The connector ${name} failed:\n${failed.trace ?? ''}`)
      return [status.connector, ...status.tasks].every(({ state }) => state === 'RUNNING')
    })
  }

  async #until(what: string, limitMs: number, holds: () => Promise<boolean>): Promise<void> {
    const deadline = performance.now() + limitMs
    while (!(await holds())) {
      if (this.pid === null)
        throw new Error(`Kafka Connect ended (${await this.#process?.ended}) before it ${what}:\n${await this.#logTail()}`)
      if (performance.now() > deadline) throw new Error(`Kafka Connect had not ${what} after ${limitMs} ms:\n${await this.#logTail()}`)
      await delay(50)
    }
  }

  async #logTail(): Promise<string> {
    return (await this.log()).trimEnd().split('\n').slice(-25).join('\n')
  }
}
