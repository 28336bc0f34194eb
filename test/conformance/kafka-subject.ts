import { setTimeout as pause } from 'node:timers/promises'
import { type BrokerFixture, brokerOffers, type Subject } from '../../src/conformance/index.ts'
import { kafka, type KafkaBroker, type KafkaBrokerOptions } from '../../src/drivers/kafka/index.ts'
import type { TestKafka } from '../support/kafka.ts'
import { NamespacedBroker } from './namespaced-broker.ts'

/** The driver on a real cluster, as the conformance suite wants it. Each case has topics, groups and streams of its own. */
export function kafkaSubject(cluster: TestKafka, options: Partial<KafkaBrokerOptions> = {}): Subject<BrokerFixture> {
  const make = (): KafkaBroker => kafka({ brokers: cluster.brokers, ...options })
  return {
    offers: brokerOffers(make().traits, ['deleteTopic', 'addPartitions', 'settings']),
    async open() {
      const prefix = `${cluster.name('c')}.`
      const brokers: KafkaBroker[] = []
      return {
        async connect({ defaultPartitions, retentionMs, maxRecordBytes } = {}) {
          const broker = kafka({
            brokers: cluster.brokers,
            ...options,
            ...(defaultPartitions === undefined ? {} : { defaultPartitions }),
            ...(retentionMs === undefined ? {} : { retentionMs }),
            ...(maxRecordBytes === undefined ? {} : { maxRecordBytes }),
          })
          brokers.push(broker)
          return new NamespacedBroker(broker, prefix)
        },
        elapse: (ms) => pause(ms),
        deleteTopic: (name) => brokers[0]!.deleteTopic(`${prefix}${name}`),
        addPartitions: (name, partitions) => brokers[0]!.addPartitions(`${prefix}${name}`, partitions),
        async close() {
          await Promise.all(brokers.map((broker) => broker.close()))
        },
      }
    },
  }
}
