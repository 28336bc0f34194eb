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
import { ClassArchive } from './class-archive.ts'
import { makeHome, removeHome } from './home.ts'
import { kafkaJars } from './jar-sets.ts'
import { logFlags } from './java-log.ts'
import { type Speed, speedFlags } from './java-process.ts'
import { findJava } from './java.ts'
import { KafkaNode } from './kafka-node.ts'
import { type ClientListener, type Users, makeCertificate, saslSettings, scramArguments, secureListeners } from './kafka-security.ts'
import {
  type NodePlace,
  type Settings,
  controllerListener,
  nodeSettings,
  plainListener,
  propertiesFile,
  proxiedListener,
} from './kafka-settings.ts'
import { jars } from './maven.ts'

export interface KafkaOptions {
  /** Each is a broker and a controller. Three survive the death of one. @default 1 */
  readonly nodes?: 1 | 3
  /** The largest heap of each node, in MiB. @default 512 for one node, 384 for three */
  readonly heapMb?: number
  /**
   * `quick` starts in half the time, for tests; `full` is how Kafka's own script sets up Java, for benches.
   * @default 'quick'
   */
  readonly speed?: Speed
  /** Adds a listener that asks for a name and a password, by PLAIN or SCRAM, or for an unsigned token (`unsecuredToken`), by OAUTHBEARER. */
  readonly sasl?: { readonly users: Users }
  /** Adds a listener with encryption. Its certificate is made for the cluster: clients must trust `ca`. With `sasl` there is one with both, too. */
  readonly tls?: boolean
  /**
   * Adds a plain listener that names a free port to its clients instead of its own: whoever listens there (`node.proxyPort`) and passes on to
   * `node.address('PROXIED')` stands between them and the broker. @default false
   */
  readonly proxied?: boolean
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
  /** The addresses of all nodes on a listener. Throws where the cluster has no such listener. */
  brokersOf(listener: ClientListener): readonly string[]
  /** The authority of the brokers' certificate, as PEM. Empty without `tls`. */
  readonly ca: string
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
  const inEnvironment = options.environment === undefined ? {} : { environment: options.environment }
  findJava(options.environment)
  const folder = await jars(kafkaJars, inEnvironment)
  const directory = await makeHome('kafka')
  const nodes: KafkaNode[] = []
  const archive = new ClassArchive(folder, options.environment)
  const written = join(directory, 'classes.jsa')
  const writes = !archive.isThere && options.speed !== 'full' && (options.nodes ?? 1) === 1
  const stop = async (): Promise<void> => {
    await Promise.all(nodes.map((node) => (writes ? node.stop() : node.kill())))
    await archive.keep(written)
    await removeHome(directory)
  }
  try {
    const { settings, ca } = await securitySettings(directory, options)
    const places = await choosePlaces(directory, options)
    const flags = [...speedFlags[options.speed ?? 'quick'], ...logFlags('info')]
    const heapMb = options.heapMb ?? (places.length === 1 ? 512 : 384)
    const java = { jars: folder, heapMb, flags: [...flags, ...archive.flags], ...inEnvironment }
    const brokerFlags = writes ? archive.flagsToWrite(written) : []
    nodes.push(...places.map((place) => new KafkaNode({ home: directory, place, java, brokerFlags })))
    const clusterId = randomBytes(16).toString('base64url')
    const format = (node: KafkaNode, place: NodePlace): Promise<void> => {
      const file = propertiesFile({ ...nodeSettings(place, places), ...settings, ...options.properties })
      return node.format(file, clusterId, scramArguments(options.sasl?.users ?? {}))
    }
    await allToTheEnd(nodes.map((node, index) => format(node, places[index]!)))
    await startAll(nodes)
    const brokersOf = (listener: ClientListener): readonly string[] => nodes.map((node) => node.address(listener))
    return { brokers: brokersOf(plainListener), brokersOf, ca, nodes, directory, stop, [Symbol.asyncDispose]: stop }
  } catch (error) {
    await stop()
    throw error
  }
}

async function securitySettings(directory: string, { sasl, tls, environment }: KafkaOptions): Promise<{ settings: Settings; ca: string }> {
  const certificate = tls === true ? await makeCertificate(directory, environment) : { settings: {}, ca: '' }
  const logins = sasl === undefined ? {} : saslSettings(secureListeners(true, tls === true), sasl.users)
  return { settings: { ...certificate.settings, ...logins }, ca: certificate.ca }
}

/** If one fails, the others would wait for it in vain. */
async function startAll(nodes: readonly KafkaNode[]): Promise<void> {
  const starts = nodes.map((node) => node.start(nodes.length))
  try {
    await Promise.all(starts)
  } catch (error) {
    await Promise.all(nodes.map((node) => node.kill()))
    await Promise.allSettled(starts)
    throw error
  }
}

/** Nothing may still run in a directory that is removed because of the first failure. */
async function allToTheEnd(work: readonly Promise<void>[]): Promise<void> {
  await Promise.allSettled(work)
  await Promise.all(work)
}

async function choosePlaces(home: string, { nodes = 1, sasl, tls, proxied }: KafkaOptions): Promise<readonly NodePlace[]> {
  const between = proxied === true ? [proxiedListener] : []
  const listeners = [plainListener, controllerListener, ...secureListeners(sasl !== undefined, tls === true), ...between]
  const taken = new Set<number>()
  const portsOf = async (names: readonly string[]): Promise<Readonly<Record<string, number>>> => {
    const ports: Record<string, number> = {}
    for (const name of names) {
      ports[name] = await freePort(null, taken)
      taken.add(ports[name])
    }
    return ports
  }
  const places: NodePlace[] = []
  for (let id = 1; id <= nodes; id++) {
    const directory = join(home, `node-${id}`)
    await mkdir(directory)
    places.push({ id, directory, ports: await portsOf(listeners), proxyPorts: await portsOf(between) })
  }
  return places
}
