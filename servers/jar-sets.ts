import type { JarSet } from './maven.ts'

const usualVersion = '4.1.2'

/**
 * The broker that tests, examples and benches run. Any Kafka from 3.7 serves: `TIDEMARK_KAFKA_VERSION` names the release to bring instead, and
 * `KAFKA_BROKERS` brokers that run already.
 */
export const kafkaVersion: string = process.env['TIDEMARK_KAFKA_VERSION'] ?? usualVersion

/**
 * Groups by the protocol of KIP-848. In 3.8 and 3.9 they are a preview, to be asked for. In 3.7 they are too, but that coordinator keeps the offsets
 * of a topic that is deleted, so that nobody should ask for it.
 */
export const consumerGroups: 'there' | 'preview' | 'missing' = /^3\.[0-7]\./.test(kafkaVersion)
  ? 'missing'
  : kafkaVersion.startsWith('3.')
    ? 'preview'
    : 'there'

/** The relay that is not ours, for interoperation and comparison. */
export const debeziumVersion = '3.4.0.Final'

// Kafka's programs log by slf4j 1.7 and bring log4j at most; without this bridge they say nothing, not even why they did not start. Those before 4.0
// bring one of their own.
const logBridge = 'org.apache.logging.log4j:log4j-slf4j-impl:2.24.3'

/** Apache Kafka: the broker. */
export const kafkaJars: JarSet = kafkaOf(kafkaVersion)

/** Its command-line tools, which work with older brokers, too. */
export const toolJars: JarSet = kafkaOf(usualVersion)

/** Kafka Connect with Debezium's Postgres connector, which holds the outbox router too. */
export const connectJars: JarSet = {
  name: 'connect',
  version: `${usualVersion}-debezium-${debeziumVersion}`,
  artifacts: [
    `org.apache.kafka:connect-runtime:${usualVersion}`,
    `org.apache.kafka:connect-json:${usualVersion}`,
    `io.debezium:debezium-connector-postgres:${debeziumVersion}`,
    logBridge,
  ],
}

function kafkaOf(version: string): JarSet {
  const programs = [`org.apache.kafka:kafka_2.13:${version}`, `org.apache.kafka:kafka-tools:${version}`]
  return { name: 'kafka', version, artifacts: version.startsWith('3.') ? programs : [...programs, logBridge] }
}
