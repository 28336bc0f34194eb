/**
 * Apache Kafka for tests, examples and benches: real brokers on 127.0.0.1, in KRaft mode, each in a Java process of its own.
 *
 * ```ts
 * const kafka = await startKafka()
 * kafka.brokers                      // ['127.0.0.1:23117']
 * await kafka.nodes[0]!.kill()
 * await kafka.nodes[0]!.start()      // same port, same data
 * await kafka.stop()                 // no process, no directory
 * ```
 *
 * @module
 */
import { randomBytes } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { freePort } from '../src/drivers/postgres/embedded/port.ts'
import { makeHome, removeHome } from './home.ts'
import { kafkaJars } from './jar-sets.ts'
import { logToStandardError } from './java-log.ts'
import { findJava } from './java.ts'
import { KafkaNode } from './kafka-node.ts'
import { type NodePlace, type Settings, controllerListener, nodeSettings, plainListener, propertiesFile } from './kafka-settings.ts'
import { jars } from './maven.ts'

export interface KafkaOptions {
  /** Each is a broker and a controller. Three survive the death of one. @default 1 */
  readonly nodes?: 1 | 3
  /** The largest heap of each node, in MiB. @default 512 for one node, 384 for three */
  readonly heapMb?: number
  /** More settings for `server.properties` of every node. They win over ours. */
  readonly properties?: Settings
  /** Where Java and Maven are looked for. @default process.env */
  readonly environment?: NodeJS.ProcessEnv
}

/** What a client needs of brokers that run, whoever started them. */
export interface KafkaInUse extends AsyncDisposable {
  /** As `host:port`. */
  readonly brokers: readonly string[]
  /** Ends what was started for it. Brokers of others stay. */
  stop(): Promise<void>
}

export interface KafkaCluster extends KafkaInUse {
  readonly nodes: readonly KafkaNode[]
  /** Where data and logs of the nodes are. Removed by `stop()`. */
  readonly directory: string
}

/** The brokers of `KAFKA_BROKERS` (as `host:port,host:port`) if it is set, else a cluster of our own, to be stopped. */
export async function kafkaForUse(options: KafkaOptions = {}): Promise<KafkaInUse> {
  const brokers = givenBrokers(options.environment)
  if (brokers === null) return startKafka(options)
  const stop = async (): Promise<void> => undefined
  return { brokers, stop, [Symbol.asyncDispose]: stop }
}

/** What `KAFKA_BROKERS` names, or `null` if it is not set. */
export function givenBrokers(environment: NodeJS.ProcessEnv = process.env): readonly string[] | null {
  const given = (environment['KAFKA_BROKERS'] ?? '').split(',').map((each) => each.trim())
  const brokers = given.filter((each) => each !== '')
  return brokers.length === 0 ? null : brokers
}

/** Starts a cluster of its own and resolves once every node answers and sees all of them. */
export async function startKafka(options: KafkaOptions = {}): Promise<KafkaCluster> {
  const { nodes: count = 1, environment } = options
  findJava(environment)
  const folder = await jars(kafkaJars, environment === undefined ? {} : { environment })
  const directory = await makeHome('kafka')
  const nodes: KafkaNode[] = []
  const stop = async (): Promise<void> => {
    await Promise.all(nodes.map((node) => node.kill()))
    await removeHome(directory)
  }
  try {
    const places = await choosePlaces(directory, count, [plainListener, controllerListener])
    const flags = [...collectorFlags, await logToStandardError(directory, 'info')]
    for (const place of places) {
      const java = { jars: folder, heapMb: options.heapMb ?? (count === 1 ? 512 : 384), flags, directory: place.directory }
      const logFile = join(place.directory, 'server.log')
      nodes.push(
        new KafkaNode({ home: directory, place, java: { ...java, logFile, ...(environment === undefined ? {} : { environment }) } }),
      )
    }
    const clusterId = randomBytes(16).toString('base64url')
    await Promise.all(
      nodes.map((node, index) => {
        const settings = { ...nodeSettings(places[index]!, places), ...options.properties }
        return node.format(propertiesFile(settings), clusterId, [])
      }),
    )
    await Promise.all(nodes.map((node) => node.start(count)))
  } catch (error) {
    await stop()
    throw error
  }
  return { brokers: nodes.map(({ broker }) => broker), nodes, directory, stop, [Symbol.asyncDispose]: stop }
}

/** Those of Kafka's own start script. */
const collectorFlags = [
  '-XX:+UseG1GC',
  '-XX:MaxGCPauseMillis=20',
  '-XX:InitiatingHeapOccupancyPercent=35',
  '-XX:+ExplicitGCInvokesConcurrent',
]

async function choosePlaces(home: string, count: number, listeners: readonly string[]): Promise<readonly NodePlace[]> {
  const taken = new Set<number>()
  const places: NodePlace[] = []
  for (let id = 1; id <= count; id++) {
    const directory = join(home, `node-${id}`)
    await mkdir(directory)
    const ports: Record<string, number> = {}
    for (const name of listeners) {
      ports[name] = await freePort(null, taken)
      taken.add(ports[name])
    }
    places.push({ id, directory, ports })
  }
  return places
}
