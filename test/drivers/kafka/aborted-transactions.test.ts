import { beforeAll, describe, expect, test } from 'vitest'
import { kafkaTool } from '../../../servers/tools.ts'
import { ProducerSession } from '../../../src/drivers/kafka/produce/producer-session.ts'
import { decodeBatches } from '../../../src/drivers/kafka/record-batch/decode-batches.ts'
import { encodeBatch } from '../../../src/drivers/kafka/record-batch/encode-batch.ts'
import { systemClock } from '../../../src/internal/clock.ts'
import { type TestKafka, kafkaAvailable, ownKafkaAvailable, testKafka } from '../../support/kafka.ts'
import { until } from '../../support/until.ts'
import { RawLog } from './support/raw-log.ts'

describe.skipIf(kafkaAvailable.missing || ownKafkaAvailable.missing)(`transactions in a real log${ownKafkaAvailable.note}`, () => {
  let kafka: TestKafka
  beforeAll(async () => {
    kafka = await testKafka()
  })

  test("what was aborted is left out wherever reading begins, as Kafka's own consumer leaves it out", async () => {
    const log = await RawLog.make(kafka.brokers, kafka.name('transactions'))
    const [one, two] = [await Transactions.open(log, kafka.name('one')), await Transactions.open(log, kafka.name('two'))]
    await one.write('one commits', 'twice')
    await two.write('two aborts', 'this')
    await one.write('one goes on')
    await one.end(true)
    await two.write('two aborts this as well')
    await one.write('one aborts')
    await two.end(false)
    await two.write('two commits')
    await one.end(false)
    await two.end(true)
    await one.write('one is back')
    await one.end(true)
    const visible = ['one commits', 'twice', 'one goes on', 'two commits', 'one is back']
    expect(await print(log, visible.length)).toEqual(visible)
    const all = await readFrom(log, 0)
    expect(all.map(({ value }) => String(value))).toEqual(visible)
    const end = all.at(-1)!.offset + 2
    for (let from = 1; from <= end; from++) {
      expect(await readFrom(log, from)).toEqual(all.filter(({ offset }) => offset >= from))
    }
  })
})

/** The transactions of one producer, in a log of one partition. */
class Transactions {
  readonly #log: RawLog
  readonly #id: string
  readonly #session: ProducerSession
  #sequence = 0

  private constructor(log: RawLog, id: string, session: ProducerSession) {
    this.#log = log
    this.#id = id
    this.#session = session
  }

  static async open(log: RawLog, id: string): Promise<Transactions> {
    const parts = { clock: systemClock, transactionTimeoutMs: 60_000, patienceMs: 20_000, lane: id, closing: new AbortController().signal }
    const session = new ProducerSession({ cluster: log.cluster, transactionalId: id, ...parts })
    await session.open()
    return new Transactions(log, id, session)
  }

  async write(...values: readonly string[]): Promise<void> {
    await this.#session.enlist([{ topic: this.#log.topic, partition: 0 }])
    const records = values.map((value) => ({ key: null, value: Buffer.from(value), headers: [] }))
    const options = { transactional: true, timestamp: Date.now(), compression: 'gzip' } as const
    const batch = encodeBatch(records, { ...this.#session.id, baseSequence: this.#sequence, ...options })
    expect(await this.#log.produce(batch, this.#id)).toBe(0)
    this.#sequence += records.length
  }

  /** Resolves once the marker is in the log. */
  async end(commit: boolean): Promise<void> {
    const before = (await this.#log.fetch()).highWatermark
    await this.#session.end(commit)
    await until('the marker is in the log', async () => (await this.#log.fetch()).highWatermark > before)
  }
}

async function readFrom(log: RawLog, from: number): Promise<ReturnType<typeof decodeBatches>['records']> {
  const { records, abortedTransactions } = await log.fetch(from)
  return decodeBatches(records, { topic: log.topic, partition: 0, from, abortedTransactions }).records
}

async function print({ cluster, topic }: RawLog, count: number): Promise<string[]> {
  const { host, port } = await cluster.controller()
  const args = ['--bootstrap-server', `${host}:${port}`, '--topic', topic, '--from-beginning', '--max-messages', `${count}`]
  return (await kafkaTool('kafka-console-consumer', [...args, '--isolation-level', 'read_committed'])).stdout.split('\n').slice(0, -1)
}
