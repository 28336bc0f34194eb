import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { kafkaLog } from '../../examples/shop/kafka-log.ts'
import { keptKafka } from '../../servers/kept-kafka.ts'
import { ownKafka, ownKafkaAvailable } from '../support/kafka.ts'
import { expectedOutcome } from './oracle.ts'
import { randomInput } from './random-input.ts'
import { ShopFolder } from './shop-process.ts'

const onKafka = ['--broker', 'kafka', '--once', '--json']

describe.skipIf(ownKafkaAvailable.missing)(
  `the shop on the cluster of KAFKA_BROKERS${ownKafkaAvailable.note}`,
  { timeout: 180_000 },
  () => {
    let folder: ShopFolder
    let other: ShopFolder
    beforeAll(async () => {
      // As strict as Kafka itself is unless told otherwise.
      const { brokers } = await ownKafka({ properties: { 'group.min.session.timeout.ms': 6_000 } })
      const environment = { KAFKA_BROKERS: brokers.join() }
      folder = await ShopFolder.make(environment)
      other = await ShopFolder.make(environment)
    })
    afterAll(async () => {
      await folder.remove()
      await other.remove()
    })

    const text = randomInput(71, 200)

    test('gives the totals of an independent count, and starts no broker', async () => {
      const input = await folder.write('orders.txt', text)
      const { code, stdout, stderr } = await folder.run(...onKafka, '--input', input)
      expect(code, stderr).toBe(0)
      expect(JSON.parse(stdout)).toMatchObject({ ...expectedOutcome(text), deadLetters: 0 })
      expect(await folder.hasKafka()).toBe(false)
    })

    test('leaves the topics of another shop alone, unless it is told --fresh', async () => {
      const input = await other.write('orders.txt', text)
      const refused = await other.run(...onKafka, '--input', input)
      expect(refused.code, refused.stderr).toBe(6)
      expect(refused.stderr).toMatch(/hold \d+ messages, of another shop. Nothing was made.\n.*--fresh/)
      expect(JSON.parse(refused.stdout)).toMatchObject({ error: { code: 'LOG_OF_ANOTHER_SHOP', retryable: false } })

      const { code, stdout, stderr } = await other.run(...onKafka, '--input', input, '--fresh')
      expect(code, stderr).toBe(0)
      expect(JSON.parse(stdout)).toMatchObject({ ...expectedOutcome(text), deadLetters: 0 })
    })

    test('stops where its topics were taken away, and says how to go on', async () => {
      const { code, stderr } = await folder.run(...onKafka, '--input', `${folder.path}/orders.txt`)
      expect(code, stderr).toBe(6)
      expect(stderr).toMatch(/outbox\.event\./)
      expect(stderr).toContain('--fresh')
    })
  },
)

describe('a Kafka that cannot be had', () => {
  test.each([
    ['refuses the connection', '127.0.0.1:1', 7, 'BROKER_UNREACHABLE', true],
    ['is not one of KAFKA_BROKERS as host:port', 'kafka-1', 2, 'CONFIG_INVALID', false],
  ])('because it %s: an error that names it', async (_, brokers, exitCode, error, retryable) => {
    const folder = await ShopFolder.make({ KAFKA_BROKERS: brokers })
    try {
      const begun = performance.now()
      const { code, stdout, stderr } = await folder.run(...onKafka)
      expect(code, stderr).toBe(exitCode)
      expect(performance.now() - begun).toBeLessThan(30_000)
      expect(stderr).toContain(brokers)
      expect(JSON.parse(stdout)).toMatchObject({ error: { code: error, retryable } })
    } finally {
      await folder.remove()
    }
  })

  test('because it is silent: the same, after 5 seconds', async () => {
    const silent = createServer().listen(0, '127.0.0.1')
    await once(silent, 'listening')
    const brokers = `127.0.0.1:${(silent.address() as AddressInfo).port}`
    try {
      const log = kafkaLog('nowhere', () => undefined, { KAFKA_BROKERS: brokers })
      await expect(log).rejects.toMatchObject({ code: 'BROKER_UNREACHABLE', message: expect.stringContaining(brokers) as string })
    } finally {
      silent.close()
    }
  }, 20_000)

  test('for want of Java is exit code 2, with what to install', async () => {
    const empty = await mkdtemp(join(tmpdir(), 'tidemark-no-java-'))
    const environment = { PATH: empty }
    const log = kafkaLog(join(empty, 'kafka'), () => undefined, environment)
    await expect(log).rejects.toMatchObject({
      exitCode: 2,
      message: expect.stringMatching(/Java 17.*npm run setup.*KAFKA_BROKERS/) as string,
    })
    await expect(keptKafka({ directory: join(empty, 'kafka'), environment }).acquire()).rejects.toThrow(/Java 17/)
    await rm(empty, { recursive: true })
  })
})
