import type { JarSet } from './maven.ts'

/** The broker that tests, examples and benches run. Any Kafka from 3.7 serves: set `KAFKA_BROKERS` to use another one. */
export const kafkaVersion = '4.1.2'

/** The relay that is not ours, for interoperation and comparison. */
export const debeziumVersion = '3.4.0.Final'

// Kafka's programs log by slf4j 1.7 and bring log4j at most; without this bridge they say nothing, not even why they did not start.
const logBridge = 'org.apache.logging.log4j:log4j-slf4j-impl:2.24.3'

/** Apache Kafka: the broker, and its command-line tools. */
export const kafkaJars: JarSet = {
  name: 'kafka',
  version: kafkaVersion,
  artifacts: [`org.apache.kafka:kafka_2.13:${kafkaVersion}`, `org.apache.kafka:kafka-tools:${kafkaVersion}`, logBridge],
}

/** Kafka Connect with Debezium's Postgres connector, which holds the outbox router too. */
export const connectJars: JarSet = {
  name: 'connect',
  version: `${kafkaVersion}-debezium-${debeziumVersion}`,
  artifacts: [
    `org.apache.kafka:connect-runtime:${kafkaVersion}`,
    `org.apache.kafka:connect-json:${kafkaVersion}`,
    `io.debezium:debezium-connector-postgres:${debeziumVersion}`,
    logBridge,
  ],
}
