import type { SASLOptions } from '@platformatic/kafka'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type KafkaCluster, startKafka } from '../../servers/kafka.ts'
import { unsecuredToken } from '../../servers/kafka-security.ts'
import { ownKafkaAvailable } from '../support/kafka.ts'
import { admin, createTopic, read, send } from './kafka-clients.ts'

const password = 'p "a" \\ss'

describe.skipIf(ownKafkaAvailable.missing)(`a broker that asks who comes${ownKafkaAvailable.note}`, () => {
  let kafka: KafkaCluster
  beforeAll(async () => {
    kafka = await startKafka({ sasl: { users: { alice: password, bob: 'other' } }, tls: true })
  })
  afterAll(() => kafka.stop())
  const once = { retries: 0, connectTimeout: 5_000 }

  const credentials: readonly [string, SASLOptions, SASLOptions][] = (['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'] as const).map(
    (mechanism) => [mechanism, { mechanism, username: 'alice', password }, { mechanism, username: 'alice', password: 'other' }],
  )
  const tokens: [string, SASLOptions, SASLOptions] = [
    'OAUTHBEARER',
    { mechanism: 'OAUTHBEARER', token: unsecuredToken('alice') },
    { mechanism: 'OAUTHBEARER', token: unsecuredToken('alice', -60) },
  ]

  describe.each([...credentials, tokens])('by %s', (_, right, wrong) => {
    test('lets in who proves it', async () => {
      expect(await admin(kafka.brokersOf('SASL_PLAINTEXT'), { sasl: right, ...once }).listTopics()).toBeInstanceOf(Array)
    })

    test('refuses who does not', async () => {
      await expect(admin(kafka.brokersOf('SASL_PLAINTEXT'), { sasl: wrong, ...once }).listTopics()).rejects.toThrow()
    })

    test('works inside TLS', async () => {
      const reaching = { sasl: right, tls: { ca: kafka.ca }, ...once }
      expect(await admin(kafka.brokersOf('SASL_SSL'), reaching).listTopics()).toBeInstanceOf(Array)
    })
  })

  test('refuses who says nothing', async () => {
    await expect(admin(kafka.brokersOf('SASL_PLAINTEXT'), { ...once, requestTimeout: 2_000 }).listTopics()).rejects.toThrow()
  })

  test('carries messages inside TLS to who trusts its authority', async () => {
    await createTopic(kafka.brokers, 'encrypted')
    const reaching = { tls: { ca: kafka.ca } }
    await send(kafka.brokersOf('SSL'), 'encrypted', 'hello', reaching)
    expect(await read(kafka.brokersOf('SSL'), 'encrypted', 'hello', reaching)).toEqual(['hello'])
  })

  test('is refused by who does not trust it', async () => {
    await expect(admin(kafka.brokersOf('SSL'), { tls: {}, ...once }).listTopics()).rejects.toThrow()
  })

  test('has no listener that nobody asked for', () => {
    expect(kafka.brokersOf('SSL')).not.toEqual(kafka.brokers)
    expect(() => kafka.nodes[0]!.address('NO_SUCH')).toThrow(/no listener NO_SUCH/)
  })
})
