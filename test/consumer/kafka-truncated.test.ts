import { describe, expect, test } from 'vitest'
import type { KafkaNode } from '../../servers/kafka-node.ts'
import type { Consumer } from '../../src/consumer/index.ts'
import { ownKafka, ownKafkaAvailable } from '../support/kafka.ts'
import { until } from '../support/until.ts'
import { consumerDatabase, sequence } from './support/consumer-database.ts'
import { kafkaTopics } from './support/kafka-topic.ts'

/**
 * Three real brokers, of which the first leads the topic and the second follows. The follower dies, the leader goes on alone and dies, the follower comes
 * back and becomes the leader by an unclean election: the log is as it was when it died, and others take the offsets of what is lost. No offset tells.
 */
describe.skipIf(ownKafkaAvailable.missing)(`a log cut by an unclean election${ownKafkaAvailable.note}`, { timeout: 180_000 }, async () => {
  if (ownKafkaAvailable.missing) return
  const topicOn = kafkaTopics()
  const { consume, effects, rows } = await consumerDatabase('kafka_truncated')
  const { brokers, nodes } = await ownKafka({ nodes: 3 })
  const keys = async (): Promise<string[]> => [...new Set((await effects()).map(({ key }) => key))].sort()

  test('stops a consumer that runs, and one that is started later, with what is lost and what to do; which does it', async () => {
    const [leader, follower] = nodes as [KafkaNode, KafkaNode]
    const topic = await topicOn(brokers, 'cut').create([[leader.id, follower.id]], {
      'unclean.leader.election.enable': 'true',
      'min.insync.replicas': '1',
    })
    const settled = (consumer: Consumer, end: number): Promise<void> =>
      until(`${end} settled`, () => consumer.settledUpTo(topic.name, 0) === end, 60_000)

    await topic.send('both', sequence(60))
    const running = consume(topic.broker, [topic.handler], { group: 'running', lanes: 1 })
    const stopped = consume(topic.broker, [topic.handler], { group: 'stopped', lanes: 1 })
    const ended = running.done.catch((error: unknown) => error)
    await Promise.all([settled(running, 60), settled(stopped, 60)])
    await follower.kill()
    await topic.send('lost', sequence(40, 60))
    await Promise.all([settled(running, 100), settled(stopped, 100)])
    await stopped.stop()
    expect(await keys()).toEqual(['both', 'lost'])

    await leader.kill()
    await follower.start()
    await until('the follower leads', async () => (await topic.leader())?.id === follower.id, 60_000)
    const truncated = { code: 'LOG_TRUNCATED', details: { topic: topic.name, partition: 0, offset: 100, endOffset: 60 } }
    expect(await ended).toMatchObject({ ...truncated, details: { ...truncated.details, group: 'running' } })

    await topic.send('other', sequence(90, 60))
    expect(await topic.end()).toBe(150)
    const again = consume(topic.broker, [topic.handler], { group: 'stopped' })
    const error: unknown = await again.done.catch((reason: unknown) => reason)
    expect(error).toMatchObject(truncated)
    expect(await keys()).toEqual(['both', 'lost'])

    const [remedy] = /update consumer_position set next_offset[^.]*/.exec((error as Error).message)!
    await rows(remedy.replace('consumer_position', 'tidemark.consumer_position'))
    const mended = consume(topic.broker, [topic.handler], { group: 'stopped' })
    await settled(mended, 150)
    expect((await effects()).filter(({ key }) => key === 'other').map(({ n }) => n)).toEqual(sequence(90, 60))

    // The other group goes on without them.
    const [shrug] = /update consumer_position set leader_epoch = null[^.]*/.exec(((await ended) as Error).message)!
    await rows(shrug.replace('consumer_position', 'tidemark.consumer_position'))
    const shrugging = consume(topic.broker, [topic.handler], { group: 'running' })
    await settled(shrugging, 150)
    expect(await effects()).toHaveLength(2 * 100 + 90 + 50)
  })
})
