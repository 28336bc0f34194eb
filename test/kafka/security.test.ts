import { rootCertificates } from 'node:tls'
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { type KafkaCluster, startKafka } from '../../servers/kafka.ts'
import { type ClientListener, unsecuredToken } from '../../servers/kafka-security.ts'
import { type KafkaBrokerOptions, kafka } from '../../src/drivers/kafka/index.ts'
import { PostgresOutboxOperations } from '../../src/drivers/postgres/postgres-outbox-operations.ts'
import { TidemarkError } from '../../src/errors.ts'
import { ownKafkaAvailable, uniqueName } from '../support/kafka.ts'
import { until } from '../support/until.ts'
import { exactly, loadDatabase } from './support/load.ts'
import { LogInProxy } from './support/log-in-proxy.ts'
import { type Worker, makeWorker } from './support/make-worker.ts'
import { everythingOf, overhear } from './support/overhear.ts'
import { publishOnce } from './support/publish-changes.ts'

type Sasl = NonNullable<KafkaBrokerOptions['sasl']>

const password = 'correct-horse-battery-staple'
const wrong = 'wrong-horse-battery'
const secrets = ['horse', 'battery', 'staple']

const passwords = ['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'] as const
const by = (mechanism: (typeof passwords)[number], secret: string): Sasl => ({ mechanism, username: 'alice', password: secret })
const right: readonly Sasl[] = [
  ...passwords.map((mechanism) => by(mechanism, password)),
  { mechanism: 'OAUTHBEARER', token: unsecuredToken('alice') },
]
const refused: readonly Sasl[] = [
  ...passwords.map((mechanism) => by(mechanism, wrong)),
  { mechanism: 'OAUTHBEARER', token: unsecuredToken('alice', -60) },
]

describe.skipIf(ownKafkaAvailable.missing)(`a Kafka that asks who comes${ownKafkaAvailable.note}`, async () => {
  const { url, database, untilHandled } = await loadDatabase('kafka_security')
  const operations = new PostgresOutboxOperations({ database })
  let cluster: KafkaCluster
  beforeAll(async () => {
    cluster = await startKafka({
      sasl: { users: { alice: password } },
      tls: true,
      properties: {
        // Whoever comes by PLAIN in TLS has to log in again after a second.
        'listener.name.sasl_ssl.plain.connections.max.reauth.ms': 1_000,
        'listener.name.sasl_ssl.sasl.enabled.mechanisms': 'PLAIN,SCRAM-SHA-512,OAUTHBEARER',
      },
    })
  })
  afterAll(() => cluster?.stop())

  const heard = overhear()
  afterAll(() => {
    heard.end()
    expectNoSecret(heard.said())
  })

  const workers: Worker[] = []
  afterEach(() => Promise.all(workers.splice(0).map((worker) => worker.stop())))

  const reach = (listener: ClientListener, options: Partial<KafkaBrokerOptions> = {}): KafkaBrokerOptions => ({
    brokers: cluster.brokersOf(listener),
    ...(listener.endsWith('SSL') ? { tls: { ca: cluster.ca } } : {}),
    ...options,
  })

  /** A service that relays, and handles what it publishes. */
  function worker(options: KafkaBrokerOptions, groups: readonly string[] = []) {
    const aggregate = uniqueName('secure')
    const made = makeWorker({ url, kafka: options, aggregate, groups, relay: true })
    workers.push(made)
    const publish = (count: number): Promise<number> =>
      publishOnce(made.service, aggregate, [{ key: `key-${Math.floor(Math.random() * 5)}`, count }])
    return { ...made, aggregate, publish }
  }

  async function proxy(): Promise<LogInProxy> {
    const made = await LogInProxy.start(cluster.brokersOf('SASL_PLAINTEXT')[0]!)
    onTestFinished(() => made.close())
    return made
  }

  const failure = async (work: Promise<unknown>): Promise<TidemarkError> => {
    const error = await work.then(
      () => new Error('nothing was thrown'),
      (thrown: unknown) => thrown,
    )
    if (!TidemarkError.is(error)) throw error
    expectNoSecret(everythingOf(error))
    return error
  }

  describe('lets a service in: what it publishes is handled once', () => {
    const ways: readonly [string, ClientListener, Sasl | null][] = [
      ...right.map((sasl): [string, ClientListener, Sasl] => [`by ${sasl.mechanism}`, 'SASL_PLAINTEXT', sasl]),
      ...[right[2]!, right[3]!].map((sasl): [string, ClientListener, Sasl] => [`by ${sasl.mechanism} in TLS`, 'SASL_SSL', sasl]),
      ['in TLS', 'SSL', null],
      [
        'with secrets that are asked for',
        'SASL_PLAINTEXT',
        { mechanism: 'SCRAM-SHA-256', username: () => 'alice', password: async () => password },
      ],
    ]
    test.each(ways)('%s', async (_, listener, sasl) => {
      const group = uniqueName('group')
      const { service, publish, aggregate } = worker(reach(listener, sasl === null ? {} : { sasl }), [group])
      await service.start()
      await publish(3)
      await publish(2)
      expect(await untilHandled(aggregate, [group])).toEqual([exactly(5)])
    })
  })

  test.each(refused)('a service that consumes does not start with a wrong secret, and asks once: $mechanism', async (sasl) => {
    const { address, begun } = await proxy()
    const { service } = worker({ brokers: [address], sasl }, [uniqueName('group')])
    const error = await failure(service.start())
    expect(error).toMatchObject({ code: 'BROKER_AUTHENTICATION', details: { broker: address, mechanism: sasl.mechanism } })
    expect(error.message).toContain(`${address} refused the log-in by ${sasl.mechanism}.`)
    expect(begun).toHaveLength(1)
  })

  test('a relay with a wrong password tries again and again, later each time, and goes on once it is right', async () => {
    const { address, begun } = await proxy()
    let current = wrong
    const sasl: Sasl = { mechanism: 'SCRAM-SHA-256', username: 'alice', password: () => current }
    const { service, publish, aggregate } = worker({ brokers: [address], sasl })
    await service.start()
    await publish(4)
    await until('it has tried five times', () => begun.length >= 5)
    // From 50 ms on doubled each time; half of it at the least, whatever chance says.
    const pauses = begun.slice(1, 5).map((time, i) => time - begun[i]!)
    for (const [i, ms] of pauses.entries()) expect(ms).toBeGreaterThanOrEqual(25 * 2 ** i - 5)
    const { outbox } = await service.status()
    expect(outbox).toMatchObject({ pending: 4, relays: [{ phase: 'retrying', published: 0, error: { code: 'BROKER_AUTHENTICATION' } }] })
    expectNoSecret(everythingOf(outbox))
    expect(service.live()).toBe(true)

    current = password
    await until('all is sent', async () => (await service.status()).outbox.pending === 0)
    const group = uniqueName('group')
    const reader = makeWorker({ url, kafka: reach('PLAINTEXT'), aggregate, groups: [group] })
    workers.push(reader)
    await reader.service.start()
    expect(await untilHandled(aggregate, [group])).toEqual([exactly(4)])
  })

  test('that has to be logged in to again and again disturbs nobody; a password that is wrong then stops the consumer, and the relay waits', async () => {
    let current = password
    let asked = 0
    const secret = (): string => {
      asked += 1
      return current
    }
    const group = uniqueName('group')
    const sasl: Sasl = { mechanism: 'PLAIN', username: 'alice', password: secret }
    const { service, publish, aggregate } = worker(reach('SASL_SSL', { sasl }), [group])
    const meanwhile = overhear()
    onTestFinished(meanwhile.end)
    await service.start()
    let published = 0
    const [atStart, failuresAtStart] = [asked, await failedLogIns()]
    while (asked < atStart + 10) {
      published += await publish(1)
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    expect(await untilHandled(aggregate, [group])).toEqual([exactly(published)])
    expect(meanwhile.said()).not.toContain('tidemark:consumer:trouble')
    expect((await service.status()).outbox.relays[0]!.error).toBe(null)

    expect((await failedLogIns()) - failuresAtStart).toBe(0)
    const askedBefore = asked
    current = wrong
    const error = await failure(service.done)
    expect(error).toMatchObject({ code: 'BROKER_AUTHENTICATION', details: { mechanism: 'PLAIN' } })
    expect(service.live()).toBe(false)
    await publish(3)
    // The relay alone.
    const askedByConsumer = asked - askedBefore
    await until('the relay has tried, too', () => asked >= askedBefore + askedByConsumer + 4)
    expect(askedByConsumer).toBeLessThan(10)
    expect((await failedLogIns()) - failuresAtStart).toBeLessThan(20)
    expect((await operations.status()).streams).toMatchObject([{ unpublished: 3 }])
    // What the broker does not say is left out; all else is told.
    expect(await service.status()).toMatchObject({
      outbox: { pending: 3, relays: [{ error: { code: 'BROKER_AUTHENTICATION' } }] },
      groups: [{ group, lags: null }],
      lagError: { code: 'BROKER_AUTHENTICATION' },
    })
  })

  const failedLogIns = async (): Promise<number> =>
    (await cluster.nodes[0]!.log()).split('\n').filter((line) => /Failed (re-)?authentication/.test(line)).length

  describe('says what is wrong to who', () => {
    type Options = Pick<KafkaBrokerOptions, 'sasl'> & { readonly tls?: KafkaBrokerOptions['tls'] | undefined }
    type Case = [string, ClientListener, () => Options, string, RegExp]
    const scram = by('SCRAM-SHA-256', password)
    const cases: readonly Case[] = [
      [
        'comes by a mechanism it does not have',
        'SASL_SSL',
        () => ({ sasl: scram }),
        'BROKER_AUTHENTICATION',
        /SCRAM-SHA-256.*offers .*PLAIN/,
      ],
      ['logs in where nobody asks', 'PLAINTEXT', () => ({ sasl: scram }), 'BROKER_AUTHENTICATION', /takes no log-in on this port/],
      ['does not log in', 'SASL_PLAINTEXT', () => ({}), 'BROKER_UNREACHABLE', /Does this port ask for .*a log-in \(sasl\)/],
      ['comes without TLS', 'SSL', () => ({ tls: undefined }), 'BROKER_UNREACHABLE', /TLS/],
      ['logs in without TLS', 'SASL_SSL', () => ({ tls: undefined, sasl: right[2]! }), 'BROKER_UNREACHABLE', /TLS/],
      ['comes with TLS where there is none', 'PLAINTEXT', () => ({ tls: {} }), 'BROKER_UNREACHABLE', /Does this port speak TLS/],
      ['trusts another authority', 'SSL', () => ({ tls: { ca: rootCertificates[0] } }), 'BROKER_UNREACHABLE', /certificate.*tls\.ca/],
      [
        'expects another name',
        'SSL',
        () => ({ tls: { ca: cluster.ca, servername: 'kafka.example' } }),
        'BROKER_UNREACHABLE',
        /kafka\.example.*tls\.servername/,
      ],
      [
        'has a token that is no text',
        'SASL_PLAINTEXT',
        () => ({ sasl: { mechanism: 'OAUTHBEARER', token: async () => JSON.parse('12345') as string } }),
        'CONFIG_INVALID',
        /sasl\.token.*got number/,
      ],
    ]
    test.each(cases)('%s', async (_, listener, options, code, message) => {
      const { tls, ...rest } = { ...reach(listener), ...options() }
      const broker = kafka({ ...rest, ...(tls === undefined ? {} : { tls }) })
      onTestFinished(() => broker.close())
      const before = performance.now()
      const error = await failure(broker.topics([{ name: 'any' }]))
      expect(error).toMatchObject({ code, message: expect.stringMatching(message) })
      expect(error.message).not.toContain('12345')
      expect(performance.now() - before).toBeLessThan(5_000)
    })

    test('cannot get at the secret: it is tried again, since it may be back', async () => {
      const token = async (): Promise<string> => {
        throw new Error(`no answer for ${wrong}`)
      }
      const broker = kafka(reach('SASL_PLAINTEXT', { sasl: { mechanism: 'OAUTHBEARER', token } }))
      onTestFinished(() => broker.close())
      await expect(broker.topics([{ name: 'any' }])).rejects.toMatchObject({
        code: 'BROKER_UNREACHABLE',
        message: expect.stringMatching(/what to log in with by OAUTHBEARER could not be had\./),
      })
    })
  })
})

function expectNoSecret(text: string): void {
  for (const secret of secrets) expect(text).not.toContain(secret)
}
