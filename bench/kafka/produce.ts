import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { kafkaVersion } from '../../servers/jar-sets.ts'
import { kafkaTool } from '../../servers/tools.ts'
import { ownVersion } from '../harness/installed-version.ts'
import { endedChildrenCpuSeconds } from '../harness/process-cpu.ts'
import { startSubject } from '../harness/start-subject.ts'
import { partitions } from './broker.ts'
import { payloads } from './payloads.ts'
import { checkPayloads } from './payload-check.ts'
import { recordsIn } from './topic-size.ts'
import type { Sample } from '../harness/result.ts'
import type { Contender } from '../harness/rounds.ts'
import type { AppenderInput } from './appender-subject.ts'
import type { BenchBroker } from './broker.ts'

export const produceRate = 'producing'
export const producers = { none: 'tidemark', relay: 'tidemark (with the headers of a relay)', java: "Kafka's ProducerPerformance" } as const

let runs = 0
/** A program that has no topic to write to waits for one for ever. */
const longestRunMs = 600_000

interface Produced {
  readonly perSecond: number
  readonly megabytesPerSecond: number
  readonly p99: number
  readonly cpuSeconds: number
}

export function appenderContender(broker: BenchBroker, messages: number, headers: AppenderInput['headers']): Contender {
  const bytes = payloads().map((text) => Buffer.byteLength(text))
  const mean = bytes.reduce((sum, size) => sum + size, 0) / bytes.length
  const produce = async (topic: string): Promise<Produced> => {
    const input: AppenderInput = { brokers: broker.addresses, topic, partitions, messages, headers }
    const subject = startSubject(new URL('./appender-subject.ts', import.meta.url), input)
    try {
      await subject.perform('prepare')
      const { figures, cpuSeconds } = await subject.perform('run')
      await subject.perform('stop')
      const perSecond = messages / figures['seconds']!
      // As Kafka's program counts them: values alone.
      return { perSecond, megabytesPerSecond: (perSecond * mean) / 2 ** 20, p99: figures['p99']!, cpuSeconds }
    } finally {
      await subject.end()
    }
  }
  return contender(broker, producers[headers], ownVersion(), messages, produce, (topic) => checkPayloads(broker.client, topic, messages))
}

/** Kafka's own program for measuring a producer, idempotent and acknowledged by all replicas, as it is by default. */
export function producerPerformanceContender(
  broker: BenchBroker,
  messages: number,
  system: string,
  settings: Readonly<Record<string, string | number>>,
): Contender {
  return contender(broker, system, kafkaVersion, messages, async (topic) => {
    const folder = await mkdtemp(join(tmpdir(), 'tidemark-bench-payloads-'))
    try {
      const file = join(folder, 'payloads')
      await writeFile(file, `${payloads().join('\n')}\n`)
      const properties = { 'bootstrap.servers': broker.addresses.join(), acks: 'all', 'enable.idempotence': 'true', ...settings }
      const args = ['--topic', topic, '--num-records', String(messages), '--throughput', '-1', '--payload-file', file, '--producer-props']
      const before = endedChildrenCpuSeconds()
      const { code, stdout, stderr } = await kafkaTool(
        'kafka-producer-perf-test',
        [...args, ...Object.entries(properties).map(([name, value]) => `${name}=${value}`)],
        { speed: 'full', heapMb: 512, signal: AbortSignal.timeout(longestRunMs) },
      )
      if (code !== 0) throw new Error(`kafka-producer-perf-test ended with ${String(code)}:\n${stdout}${stderr}`)
      return { ...readReport(stdout), cpuSeconds: endedChildrenCpuSeconds() - before }
    } finally {
      await rm(folder, { recursive: true })
    }
  })
}

function contender(
  broker: BenchBroker,
  system: string,
  version: string,
  messages: number,
  produce: (topic: string) => Promise<Produced>,
  check: (topic: string) => Promise<void> = async () => {},
): Contender {
  const sample = (metric: string, unit: string, value: number): Sample => ({ system, version, metric, unit, value })
  return {
    name: `${system}, produce`,
    measure: () => {
      const topic = `produced_${(runs += 1)}`
      return broker.withTopics([topic], async () => {
        const kafkaBefore = await broker.cpuSeconds()
        const { perSecond, megabytesPerSecond, p99, cpuSeconds } = await produce(topic)
        const kafkaSeconds = (await broker.cpuSeconds()) - kafkaBefore
        const found = await recordsIn(broker.client, topic)
        if (found !== messages) throw new Error(`wrong log: expected ${messages} records, found ${found}`)
        await check(topic)
        return [
          sample(produceRate, 'messages/s', perSecond),
          sample(`${produceRate}, bytes`, 'MiB/s', megabytesPerSecond),
          sample(`${produceRate}, handed over to acknowledged, p99`, 'ms', p99),
          sample(`${produceRate}, CPU of the producer`, 's', cpuSeconds),
          sample(`${produceRate}, CPU of Kafka`, 's', kafkaSeconds),
        ]
      })
    },
  }
}

/** Its last line sums up: `… 51234.5 records/sec (27.3 MB/sec), 312.7 ms avg latency, …, 620 ms 99th, 640 ms 99.9th.` */
function readReport(stdout: string): Omit<Produced, 'cpuSeconds'> {
  const line = stdout.trim().split('\n').at(-1) ?? ''
  const number = (pattern: RegExp): number => {
    const [, found] = pattern.exec(line) ?? []
    if (found === undefined) throw new Error(`kafka-producer-perf-test reported something else: ${line}`)
    return Number(found)
  }
  return {
    perSecond: number(/([\d.]+) records\/sec/),
    megabytesPerSecond: number(/\(([\d.]+) MB\/sec\)/),
    p99: number(/([\d.]+) ms 99th/),
  }
}
