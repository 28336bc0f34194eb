import { describe, expect, test, vi } from 'vitest'
import { brokerCases, exercise } from '../../src/conformance/index.ts'
import { KafkaConnection } from '../../src/drivers/kafka/client.ts'
import { kafkaAvailable, testKafka } from '../support/kafka.ts'
import { kafkaSubject } from './kafka-subject.ts'
import { vitestRunner } from './vitest-runner.ts'

vi.mock('@platformatic/kafka', () => import('kafka-client-2'))

const [major, minor] = process.versions.node.split('.').map(Number) as [number, number]
const nodeWillDo = major > 22 || (major === 22 && minor >= 22)
const missing = kafkaAvailable.missing || !nodeWillDo
const note = nodeWillDo ? kafkaAvailable.note : ', which needs Node 22.22: `npm run test:node24`'

// Both supported lines of the client are installed side by side; the other tests use the older one, which runs on every Node that we support.
describe.skipIf(missing)(`Kafka by version 2 of the client${note}`, async () => {
  if (missing) return test('is not there', () => undefined)
  const { Connection } = await import('kafka-client-2')
  const cluster = await testKafka()

  test('it is the one under test', () => {
    expect(KafkaConnection).toBe(Connection)
  })

  exercise(brokerCases, kafkaSubject(cluster), vitestRunner)
})
