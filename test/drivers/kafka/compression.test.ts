import { beforeAll, describe, expect, test } from 'vitest'
import { kafkaTool } from '../../../servers/tools.ts'
import { type Compression, compressionCode, isAvailable } from '../../../src/drivers/kafka/record-batch/compression.ts'
import { type DecodedBatches, decodeBatches } from '../../../src/drivers/kafka/record-batch/decode-batches.ts'
import { encodeBatch } from '../../../src/drivers/kafka/record-batch/encode-batch.ts'
import type { RecordContent } from '../../../src/drivers/kafka/record-batch/record-size.ts'
import { type TestKafka, kafkaAvailable, ownKafkaAvailable, testKafka } from '../../support/kafka.ts'
import { RawLog, attributesOf } from './support/raw-log.ts'

const compressions: readonly Compression[] = ['none', 'gzip', 'snappy', 'lz4', 'zstd']
const available = compressions.filter(isAvailable)
/** Not idempotent, so that batches need no numbers. Of now: a broker removes what is old at once. */
const nobody = { producerId: -1n, producerEpoch: -1, baseSequence: -1, transactional: false, timestamp: Date.now() }
const compressionBits = 0b111

/** Enough for several blocks in every compression, which are 64 KiB and larger. */
function recordsOf(label: string, count = 1_500): RecordContent[] {
  return Array.from({ length: count }, (_, index) => ({
    key: Buffer.from(`${label}-${index}`),
    value: Buffer.from(`${index} ${'some text that compresses well, ü '.repeat(index % 7)}`),
    headers: [
      ['label', label],
      ['label', `${index}`],
    ],
  }))
}

function decode(log: RawLog, batches: Buffer): DecodedBatches {
  return decodeBatches(batches, { topic: log.topic, partition: 0, from: 0, abortedTransactions: null })
}

describe.skipIf(kafkaAvailable.missing || ownKafkaAvailable.missing)(`record batches and Kafka itself${ownKafkaAvailable.note}`, () => {
  let kafka: TestKafka
  beforeAll(async () => {
    kafka = await testKafka()
  })

  test('its console consumer reads what we wrote, in every compression', async () => {
    const log = await RawLog.make(kafka.brokers, kafka.name('ours'))
    const records = available.flatMap((compression) => recordsOf(compression))
    for (const compression of available) {
      expect(await log.produce(encodeBatch(recordsOf(compression), { ...nobody, compression }))).toBe(0)
    }
    expect(attributesOf((await log.fetch()).records).map((attributes) => attributes & compressionBits)).toEqual(
      available.map(compressionCode),
    )
    const printed = await printAll(log, records.length)
    expect(printed).toEqual(
      records.map(({ key, value, headers }) => {
        const shown = headers.map(([name, content]) => `${name}:${String(content)}`).join(',')
        return `CreateTime:${nobody.timestamp}\t${shown}\t${key!.toString()}\t${value!.toString()}`
      }),
    )
  })

  test('its broker decompresses what we wrote, in every compression, to compress it anew', async () => {
    const configs = { 'compression.type': 'gzip', 'message.timestamp.type': 'LogAppendTime' }
    const log = await RawLog.make(kafka.brokers, kafka.name('recompressed'), configs)
    const before = Date.now() - 1_000
    for (const compression of available) {
      expect(await log.produce(encodeBatch(recordsOf(compression, 300), { ...nobody, compression }))).toBe(0)
    }
    const { records } = await log.fetch()
    expect(new Set(attributesOf(records).map((attributes) => attributes & compressionBits))).toEqual(new Set([compressionCode('gzip')]))
    const decoded = decode(log, records).records
    expect(decoded.map(({ key }) => key)).toEqual(available.flatMap((compression) => recordsOf(compression, 300)).map(({ key }) => key))
    for (const { timestamp } of decoded) expect(timestamp).toBeGreaterThan(before)
  })

  test.each(compressions)('what its producer wrote with %s is decoded', async (compression) => {
    const log = await RawLog.make(kafka.brokers, kafka.name('theirs'))
    const lines = recordsOf(compression).map(({ key, value }) => `h1:a,h2:ü\t${String(key)}\t${String(value)}`)
    await type(log, lines, compression)
    const { records } = await log.fetch()
    expect(new Set(attributesOf(records).map((attributes) => attributes & compressionBits))).toEqual(
      new Set([compressionCode(compression)]),
    )
    if (!isAvailable(compression)) {
      expect(() => decode(log, records)).toThrow(expect.objectContaining({ code: 'MESSAGE_UNDECODABLE' }))
      return
    }
    const decoded = decode(log, records)
    expect(decoded.nextOffset).toBe(lines.length)
    expect(
      decoded.records.map(({ key, value, headers }) => {
        const shown = headers.map(([name, content]) => `${name}:${String(content)}`).join(',')
        return `${shown}\t${String(key)}\t${String(value)}`
      }),
    ).toEqual(lines)
  })
})

/** Everything in the log, a line for each record: time, headers, key, value. */
async function printAll({ cluster, topic }: RawLog, count: number): Promise<string[]> {
  const { host, port } = await cluster.controller()
  const shown = ['timestamp', 'headers', 'key'].flatMap((what) => ['--property', `print.${what}=true`])
  const args = ['--bootstrap-server', `${host}:${port}`, '--topic', topic, '--from-beginning', '--max-messages', `${count}`, ...shown]
  const { stdout, stderr } = await kafkaTool('kafka-console-consumer', args)
  expect(stderr).not.toContain('Exception')
  return stdout.split('\n').slice(0, -1)
}

/** Has Kafka's console producer write lines of headers, key and value, in batches as large as they come. */
async function type({ cluster, topic }: RawLog, lines: readonly string[], compression: Compression): Promise<void> {
  const { host, port } = await cluster.controller()
  const read = ['parse.headers', 'parse.key'].flatMap((what) => ['--property', `${what}=true`])
  const settings = ['--compression-codec', compression, '--batch-size', '900000', '--timeout', '2000']
  const args = ['--bootstrap-server', `${host}:${port}`, '--topic', topic, ...read, ...settings]
  expect(await kafkaTool('kafka-console-producer', args, { input: `${lines.join('\n')}\n` })).toMatchObject({ code: 0 })
}
