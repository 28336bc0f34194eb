import { describe } from 'vitest'
import { consumerGroups } from '../../servers/jar-sets.ts'
import { brokerCases, exercise } from '../../src/conformance/index.ts'
import { kafkaAvailable, testKafka } from '../support/kafka.ts'
import { kafkaSubject } from './kafka-subject.ts'
import { vitestRunner } from './vitest-runner.ts'

const subjects = {
  'the classic protocol': {},
  ...(consumerGroups === 'missing' ? {} : { 'the protocol of KIP-848': { groupProtocol: 'consumer' } as const }),
  'fenced streams': { fenceStreams: true },
} as const

describe.skipIf(kafkaAvailable.missing)(`Kafka${kafkaAvailable.note}`, async () => {
  if (kafkaAvailable.missing) return
  const cluster = await testKafka()
  for (const [name, options] of Object.entries(subjects)) {
    describe(name, () => exercise(brokerCases, kafkaSubject(cluster, options), vitestRunner))
  }
})
