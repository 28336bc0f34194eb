import { readdir } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { afterEach, describe, expect, test } from 'vitest'
import { type KafkaCluster, type KafkaOptions, startKafka } from '../../servers/kafka.ts'
import { kafkaTool } from '../../servers/tools.ts'
import { pidExists } from '../../src/drivers/postgres/embedded/process-identity.ts'
import { ownKafkaAvailable } from '../support/kafka.ts'
import { admin, createTopic, read, send } from './kafka-clients.ts'

const started: KafkaCluster[] = []

afterEach(async () => {
  await Promise.all(started.splice(0).map((cluster) => cluster.stop()))
})

async function cluster(options: KafkaOptions = {}): Promise<KafkaCluster> {
  const made = await startKafka(options)
  started.push(made)
  return made
}

const quickly = { connectTimeout: 500, requestTimeout: 500, timeout: 500, retries: 0 }

describe.skipIf(ownKafkaAvailable.missing)(`a cluster of one's own${ownKafkaAvailable.note}`, { timeout: 180_000 }, () => {
  test('a killed broker comes back at the same address with what it had acknowledged', async () => {
    const { brokers, nodes } = await cluster()
    await createTopic(brokers, 'kept')
    await send(brokers, 'kept', 'before')
    await nodes[0]!.kill()
    expect(nodes[0]!.pid).toBeNull()
    await expect(admin(brokers, quickly).listTopics()).rejects.toThrow()
    await nodes[0]!.start()
    await send(brokers, 'kept', 'after')
    expect(await read(brokers, 'kept', 'after')).toEqual(['before', 'after'])
  })

  test('a paused broker does not answer, and goes on where it was', async () => {
    const { brokers, nodes } = await cluster()
    await createTopic(brokers, 'paused')
    nodes[0]!.pause()
    await expect(admin(brokers, quickly).listTopics()).rejects.toThrow()
    nodes[0]!.resume()
    await send(brokers, 'paused', 'after')
    expect(await read(brokers, 'paused', 'after')).toEqual(['after'])
  })

  test('three nodes take and give messages while the one that led is dead', async () => {
    const { brokers, nodes } = await cluster({ nodes: 3 })
    await createTopic(brokers, 'survives', 3)
    const at = ['--bootstrap-server', brokers.join(), '--topic', 'survives']
    const { topics } = await admin(brokers).metadata({ topics: ['survives'] })
    const leader = nodes.find(({ id }) => id === topics.get('survives')?.partitions[0]?.leader)
    await leader!.kill()
    await kafkaTool('kafka-console-producer', at, { input: 'without it\n' })
    const { stdout } = await kafkaTool('kafka-console-consumer', [...at, '--from-beginning', '--max-messages', '1'])
    expect(stdout).toBe('without it\n')
    expect(nodes.filter(({ pid }) => pid === null)).toEqual([leader])
  })

  test('settings of the caller win over ours', async () => {
    const { brokers } = await cluster({ properties: { 'auto.create.topics.enable': true } })
    await send(brokers, 'made-by-itself', 'hello', { autocreateTopics: true })
    expect(await read(brokers, 'made-by-itself', 'hello')).toEqual(['hello'])
  })

  test('a stop leaves no process and no directory, whatever state the nodes are in', async () => {
    const made = await cluster({ nodes: 3 })
    const pids = made.nodes.map(({ pid }) => pid!)
    expect(await readdir(made.directory)).toContain('node-1')
    await made.nodes[0]!.kill()
    made.nodes[1]!.pause()
    await made.stop()
    expect(pids.filter(pidExists)).toEqual([])
    expect(existsSync(made.directory)).toBe(false)
  })

  test('a broker that cannot start says why', async () => {
    await expect(cluster({ properties: { 'log.retention.check.interval.ms': 'soon' } })).rejects.toThrow(/soon/)
  })
})
