/**
 * Real Kafka for tests: one broker for the whole run, or a cluster of the file's own that it may kill and pause.
 *
 * ```ts
 * const kafka = await testKafka()            // at the top level of the test file
 * const topic = kafka.name('orders')         // nobody else's
 * ```
 *
 * @module
 */
import { randomUUID } from 'node:crypto'
import { afterAll, inject } from 'vitest'
import { consumerGroups, kafkaJars } from '../../servers/jar-sets.ts'
import { type KafkaCluster, type KafkaOptions, givenBrokers, startKafka } from '../../servers/kafka.ts'
import { hasJars } from '../../servers/maven.ts'
import { askForBroker } from './shared-broker.ts'
import { systemPackage } from './system-packages.ts'

/** The run's broker, as one test file sees it. */
export interface TestKafka {
  /** As `host:port`. */
  readonly brokers: readonly string[]
  /** A name that no other test has, for a topic, a group or a transactional id, or as the beginning of several. */
  name(prefix?: string): string
}

/**
 * Is there a Kafka to test with? For `describe.skipIf`. A broker of our own needs Java, and Maven for its jars the first time;
 * `KAFKA_BROKERS` serves `testKafka()`, but not `ownKafka()`.
 */
export const ownKafkaAvailable = await ownKafkaState()
export const kafkaAvailable = givenBrokers() === null ? ownKafkaAvailable : { missing: false, note: '' }

/** Those that the broker has: KIP-848 is not to be had everywhere. */
export const groupProtocols = consumerGroups === 'missing' ? (['classic'] as const) : (['classic', 'consumer'] as const)

async function ownKafkaState(): Promise<{ readonly missing: boolean; readonly note: string }> {
  const java = systemPackage('java')
  if (java.missing) return java
  return (await hasJars(kafkaJars)) ? java : systemPackage('maven')
}

/** The run's broker, started by the first file that asks. Call it at the top level of the test file or in `beforeAll`. */
export async function testKafka(): Promise<TestKafka> {
  return { brokers: await askForBroker(inject('kafkaSocket')), name: uniqueName }
}

/** A cluster of the file's own, stopped after the file's tests. Call it at the top level of the test file. */
export async function ownKafka(options: KafkaOptions = {}): Promise<KafkaCluster> {
  const cluster = await startKafka(options)
  afterAll(() => cluster.stop())
  return cluster
}

/** A name that nobody else has. */
export function uniqueName(prefix = 'test'): string {
  return `${prefix}-${randomUUID().replaceAll('-', '').slice(0, 12)}`
}
