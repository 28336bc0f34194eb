import { readFile, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { noteProcess } from './home.ts'
import { JavaProcess, type JavaProgram } from './java-process.ts'
import { type NodePlace, plainListener, proxiedListener } from './kafka-settings.ts'
import { nodesSeenBy } from './nodes-seen.ts'

/** A start takes three to six seconds on an idle machine; this only ends one that hangs. */
const startLimitMs = 120_000
/** A clean stop hands over leadership first. Past this the node is ended at once, which its log survives. */
const stopLimitMs = 30_000

export interface NodeProgram {
  readonly home: string
  readonly place: NodePlace
  readonly java: Pick<JavaProgram, 'jars' | 'heapMb' | 'flags' | 'environment'>
  /** More flags of the broker, not of the tool that prepares its directory. */
  readonly brokerFlags: readonly string[]
}

/** Does anybody listen on this port? */
function opens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    const end = (isOpen: boolean): void => {
      socket.destroy()
      resolve(isOpen)
    }
    socket.once('connect', () => end(true))
    socket.once('error', () => end(false))
  })
}

/** One broker, which is a controller too. Its data and its ports stay the same until the cluster is stopped. */
export class KafkaNode {
  readonly id: number
  readonly #program: NodeProgram
  #process: JavaProcess | null = null

  constructor(program: NodeProgram) {
    this.id = program.place.id
    this.#program = program
  }

  /** Its address on a listener. */
  address(listener: string): string {
    const port = this.#program.place.ports[listener]
    if (port === undefined) throw new Error(`The broker has no listener ${listener}.`)
    return `127.0.0.1:${port}`
  }

  /** Where clients of the proxied listener are sent. Throws where the cluster has no such listener. */
  get proxyPort(): number {
    const port = this.#program.place.proxyPorts?.[proxiedListener]
    if (port === undefined) throw new Error('The cluster was not started with `proxied`.')
    return port
  }

  /** The process, or `null` while it does not run. */
  get pid(): number | null {
    return this.#process?.isRunning === true ? this.#process.pid : null
  }

  /** What it has logged over all its starts. */
  log(): Promise<string> {
    return readFile(this.#logFile, 'utf8')
  }

  /** Starts it, with the data it has. Resolves once it answers and sees itself and `atLeast` brokers in the cluster. Nothing happens if it runs. */
  async start(atLeast = 1): Promise<void> {
    if (this.pid === null) {
      this.#process = await this.#run('kafka.Kafka', [this.#settingsFile], this.#program.brokerFlags)
      await noteProcess(this.#program.home, `node-${this.id}`, this.#process.pid)
    }
    await this.#untilReady(atLeast)
  }

  /** Stops it cleanly: leadership moves first. */
  async stop(): Promise<void> {
    await this.#process?.end(stopLimitMs)
  }

  /** Ends it at once with SIGKILL, as a crash of the machine would. */
  async kill(): Promise<void> {
    await this.#process?.kill()
  }

  /** Freezes it with SIGSTOP: connections stay, and nobody answers. */
  pause(): void {
    this.#running().signal('SIGSTOP')
  }

  /** Lets it go on. */
  resume(): void {
    this.#running().signal('SIGCONT')
  }

  /** Prepares the directory for its first start, with the users given to Kafka's own tool. */
  async format(settings: string, clusterId: string, extra: readonly string[]): Promise<void> {
    await writeFile(this.#settingsFile, settings)
    // An id may begin with a dash.
    const args = ['format', `--cluster-id=${clusterId}`, '--config', this.#settingsFile, ...extra]
    const tool = await this.#run('kafka.tools.StorageTool', args)
    const ending = await tool.ended
    if (ending !== 'exit code 0') throw new Error(`Kafka's directory could not be prepared (${ending}):\n${await this.#logTail()}`)
  }

  #run(mainClass: string, args: readonly string[], more: readonly string[] = []): Promise<JavaProcess> {
    const { java, place } = this.#program
    const flags = [...(java.flags ?? []), ...more]
    return JavaProcess.start({ ...java, flags, mainClass, args, directory: place.directory, logFile: this.#logFile })
  }

  get #logFile(): string {
    return join(this.#program.place.directory, 'server.log')
  }

  get #settingsFile(): string {
    return join(this.#program.place.directory, 'server.properties')
  }

  #running(): JavaProcess {
    if (this.#process?.isRunning !== true) throw new Error(`Kafka node ${this.id} does not run.`)
    return this.#process
  }

  async #untilReady(atLeast: number): Promise<void> {
    const deadline = performance.now() + startLimitMs
    while (!(await this.#sees(atLeast))) {
      if (this.pid === null)
        throw new Error(`Kafka node ${this.id} ended while it started (${await this.#process?.ended}):\n${await this.#logTail()}`)
      if (performance.now() > deadline)
        throw new Error(`Kafka node ${this.id} was not ready in ${startLimitMs} ms:\n${await this.#logTail()}`)
      await delay(50)
    }
  }

  async #sees(atLeast: number): Promise<boolean> {
    try {
      const nodes = await nodesSeenBy('127.0.0.1', this.#program.place.ports[plainListener]!)
      if (nodes.length < atLeast || !nodes.includes(this.id)) return false
      // Listeners open one after the other.
      const { ports } = this.#program.place
      return (await Promise.all(Object.values(ports).map(opens))).every((isOpen) => isOpen)
    } catch {
      return false
    }
  }

  async #logTail(): Promise<string> {
    const lines = (await this.log()).trimEnd().split('\n')
    const old = lines.find((line) => line.includes('UnsupportedClassVersionError'))
    return old === undefined ? lines.slice(-25).join('\n') : `${old}\nThis Java is too old: Kafka needs Java 17 or newer.`
  }
}
