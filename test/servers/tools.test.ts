import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { kafkaTool } from '../../servers/tools.ts'
import { kafkaAvailable, ownKafkaAvailable, testKafka } from '../support/kafka.ts'
import { createTopic, read, send } from './kafka-clients.ts'

const directory = await mkdtemp(join(tmpdir(), 'tidemark-tools-'))
afterAll(() => rm(directory, { recursive: true }))

const missing = kafkaAvailable.missing || ownKafkaAvailable.missing

describe.skipIf(missing)(`Kafka's own programs${ownKafkaAvailable.note}`, () => {
  test('write lines of their input, which others read', async () => {
    const { brokers, name } = await testKafka()
    const topic = name('typed')
    await createTopic(brokers, topic)
    const args = ['--bootstrap-server', brokers[0]!, '--topic', topic]
    expect(await kafkaTool('kafka-console-producer', args, { input: 'one\ntwo\n' })).toMatchObject({ code: 0 })
    expect(await read(brokers, topic, 'two')).toEqual(['one', 'two'])
  })

  test('print what others wrote, and nothing else', async () => {
    const { brokers, name } = await testKafka()
    const topic = name('printed')
    await createTopic(brokers, topic)
    await send(brokers, topic, 'hello')
    const args = ['--bootstrap-server', brokers[0]!, '--topic', topic, '--from-beginning', '--max-messages', '1']
    expect((await kafkaTool('kafka-console-consumer', args)).stdout).toBe('hello\n')
  })

  test('measure', async () => {
    const { brokers, name } = await testKafka()
    const topic = name('measured')
    await createTopic(brokers, topic)
    const load = ['--num-records', '1000', '--record-size', '100', '--throughput', '-1']
    const args = ['--topic', topic, ...load, '--producer-props', `bootstrap.servers=${brokers[0]}`, 'acks=all']
    expect((await kafkaTool('kafka-producer-perf-test', args, { speed: 'full' })).stdout).toMatch(/1000 records sent, [\d.]+ records\/sec/)
  })

  test('move offsets, change settings, remove records and show groups', async () => {
    const { brokers, name } = await testKafka()
    const topic = name('managed')
    const at = ['--bootstrap-server', brokers[0]!]
    await createTopic(brokers, topic)
    await send(brokers, topic, 'gone')
    await send(brokers, topic, 'kept')
    const alter = ['--alter', '--topic', topic, '--add-config', 'retention.ms=1000000']
    const file = join(directory, 'remove.json')
    await writeFile(file, JSON.stringify({ partitions: [{ topic, partition: 0, offset: 1 }], version: 1 }))
    const reset = ['--group', name('group'), '--topic', topic, '--reset-offsets', '--to-earliest', '--execute']
    expect(await kafkaTool('kafka-configs', [...at, ...alter])).toMatchObject({ code: 0 })
    expect(await kafkaTool('kafka-delete-records', [...at, '--offset-json-file', file])).toMatchObject({ code: 0 })
    expect((await kafkaTool('kafka-consumer-groups', [...at, ...reset])).stdout).toMatch(new RegExp(`${topic}\\s+0\\s+1`))
    expect((await kafkaTool('kafka-topics', [...at, '--describe', '--topic', topic])).stdout).toContain('retention.ms=1000000')
    expect(await read(brokers, topic, 'kept')).toEqual(['kept'])
  })

  test('end when told to, with what they have said', async () => {
    const { brokers, name } = await testKafka()
    const topic = name('endless')
    await createTopic(brokers, topic)
    const stopping = new AbortController()
    const running = kafkaTool('kafka-console-consumer', ['--bootstrap-server', brokers[0]!, '--topic', topic], { signal: stopping.signal })
    stopping.abort()
    expect((await running).code).not.toBe(0)
  })

  test('tell by their code and words what went wrong', async () => {
    const { code, stderr, stdout } = await kafkaTool('kafka-topics', ['--no-such-option'])
    expect(code).toBe(1)
    expect(stderr + stdout).toContain('no-such-option')
  })
})
