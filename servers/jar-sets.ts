import type { JarSet } from './maven.ts'

/** The broker that tests, examples and benches run. Any Kafka from 3.7 serves: set `KAFKA_BROKERS` to use another one. */
export const kafkaVersion = '4.1.2'

/** Apache Kafka: the broker, and its command-line tools. */
export const kafkaJars: JarSet = {
  name: 'kafka',
  version: kafkaVersion,
  artifacts: [
    `org.apache.kafka:kafka_2.13:${kafkaVersion}`,
    `org.apache.kafka:kafka-tools:${kafkaVersion}`,
    // Kafka logs by slf4j 1.7 and brings log4j; without this bridge it says nothing, not even why it did not start.
    'org.apache.logging.log4j:log4j-slf4j-impl:2.24.3',
  ],
}
