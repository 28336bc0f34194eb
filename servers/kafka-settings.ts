import { consumerGroups } from './jar-sets.ts'

/** Where one node of a cluster listens, fixed for its life. */
export interface NodePlace {
  readonly id: number
  readonly directory: string
  /** By the listener's name, as `PLAINTEXT`. */
  readonly ports: Readonly<Record<string, number>>
  /** Where clients are told to come instead, by the listener's name: the port of a proxy. */
  readonly proxyPorts?: Readonly<Record<string, number>>
}

export type Settings = Readonly<Record<string, string | number | boolean>>

/** The listener of the Raft quorum; clients never use it. */
export const controllerListener = 'CONTROLLER'
/** The listener that every cluster has, without encryption or authentication. */
export const plainListener = 'PLAINTEXT'

/** A second plain one, for clients that come through a proxy. */
export const proxiedListener = 'PROXIED'

const protocols: Readonly<Record<string, string>> = { [controllerListener]: 'PLAINTEXT', [proxiedListener]: 'PLAINTEXT' }

/** What a node of the cluster is set to, before the wishes of the caller. Chosen so that tests do not wait. */
export function nodeSettings(place: NodePlace, cluster: readonly NodePlace[]): Settings {
  return { ...addresses(place, cluster), ...replication(cluster.length), ...quick, ...(consumerGroups === 'preview' ? preview : {}) }
}

function addresses({ ports, proxyPorts, directory, id }: NodePlace, cluster: readonly NodePlace[]): Settings {
  const listeners = listenersAt(ports)
  const advertised = listenersAt({ ...ports, ...proxyPorts }).filter((each) => !each.startsWith(controllerListener))
  return {
    'process.roles': 'broker,controller',
    'node.id': id,
    'controller.quorum.voters': cluster.map((each) => `${each.id}@127.0.0.1:${each.ports[controllerListener]}`).join(),
    'controller.listener.names': controllerListener,
    'inter.broker.listener.name': plainListener,
    listeners: listeners.join(),
    'advertised.listeners': advertised.join(),
    'listener.security.protocol.map': Object.keys(ports)
      .map((name) => `${name}:${protocols[name] ?? name}`)
      .join(),
    'log.dirs': `${directory}/data`,
  }
}

function listenersAt(ports: Readonly<Record<string, number>>): readonly string[] {
  return Object.entries(ports).map(([name, port]) => `${name}://127.0.0.1:${port}`)
}

/** Three nodes stay writable when one is gone. */
function replication(nodes: number): Settings {
  const copies = Math.min(nodes, 3)
  const inSync = Math.max(copies - 1, 1)
  return {
    'default.replication.factor': copies,
    'min.insync.replicas': inSync,
    'offsets.topic.replication.factor': copies,
    'transaction.state.log.replication.factor': copies,
    'transaction.state.log.min.isr': inSync,
    'share.coordinator.state.topic.replication.factor': copies,
    'share.coordinator.state.topic.min.isr': inSync,
  }
}

const quick: Settings = {
  'auto.create.topics.enable': false,
  'delete.topic.enable': true,
  'num.partitions': 1,
  // Made at the first use, all partitions of them: few are quick.
  'offsets.topic.num.partitions': 4,
  'transaction.state.log.num.partitions': 4,
  'share.coordinator.state.topic.num.partitions': 4,
  // A killed broker that comes back is refused until its old session has ended.
  'broker.session.timeout.ms': 2_000,
  'broker.heartbeat.interval.ms': 250,
  // Groups, classic and of KIP-848, may be as quick as a test wants.
  'group.initial.rebalance.delay.ms': 0,
  'group.min.session.timeout.ms': 100,
  'group.consumer.min.session.timeout.ms': 500,
  'group.consumer.session.timeout.ms': 6_000,
  'group.consumer.min.heartbeat.interval.ms': 100,
  'group.consumer.heartbeat.interval.ms': 500,
  'group.share.min.session.timeout.ms': 500,
  'group.share.session.timeout.ms': 6_000,
  'group.share.min.heartbeat.interval.ms': 100,
  'group.share.heartbeat.interval.ms': 500,
  'transaction.abort.timed.out.transaction.cleanup.interval.ms': 500,
  // Retention, compaction and removal act within a second or so.
  'log.initial.task.delay.ms': 500,
  'log.retention.check.interval.ms': 500,
  'log.cleaner.backoff.ms': 500,
  'log.segment.delete.delay.ms': 1_000,
  // 128 MiB by default, taken at the start. A test's topic has few keys.
  'log.cleaner.dedupe.buffer.size': 8 * 1024 * 1024,
}

const preview: Settings = { 'group.coordinator.rebalance.protocols': 'classic,consumer' }

/** Settings as a file of Java properties. */
export function propertiesFile(settings: Settings): string {
  return `${Object.entries(settings)
    .map(([name, value]) => `${name}=${String(value).replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}`)
    .join('\n')}\n`
}
