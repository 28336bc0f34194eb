import { describe, expect, test } from 'vitest'
import { kafkaVersion } from '../../../servers/jar-sets.ts'
import { leaderBefore } from '../../../src/consumer/partition/leaders.ts'
import type { Fetched, FetchPosition, LeaderRun } from '../../../src/message/index.ts'
import { kafkaTopics } from '../../consumer/support/kafka-topic.ts'
import { consumerDatabase, sequence } from '../../consumer/support/consumer-database.ts'
import { ownKafka, ownKafkaAvailable } from '../../support/kafka.ts'
import { until } from '../../support/until.ts'

/** A broker whose every restart makes it the leader of a later epoch: nothing is lost by that. */
describe.skipIf(ownKafkaAvailable.missing)(`leader epochs of a real log${ownKafkaAvailable.note}`, { timeout: 120_000 }, async () => {
  if (ownKafkaAvailable.missing) return
  const topicOn = kafkaTopics()
  const { consume } = await consumerDatabase('leader_epochs')
  const { brokers, nodes } = await ownKafka()
  const node = nodes[0]!

  // Before 4.0 a broker that is the only one goes on under the epoch it had.
  test.skipIf(kafkaVersion.startsWith('3.'))(
    'are told by the reader and borne out by the broker, and a place is refused where it was written under a later leader',
    async () => {
      const topic = await topicOn(brokers, 'epochs', { fenceStreams: true }).create()
      const ends: number[] = []
      for (const round of sequence(3)) {
        if (round > 0) {
          await node.kill()
          await node.start()
          await until('it leads again', async () => (await topic.leader()) !== null)
        }
        await topic.send('a', sequence(3, round * 6))
        await topic.send('b', sequence(3, round * 6 + 3))
        // With the marks of the two transactions.
        ends.push(await topic.end())
        const consumer = consume(topic.broker, [topic.handler], { lanes: 2 })
        await until('this round is settled', () => consumer.settledUpTo(topic.name, 0) === ends[round])
        await consumer.stop()
      }
      expect(ends).toEqual([8, 16, 24])

      const reader = topic.broker.reader()
      const read = async (offset: number, leaderEpoch: number | null, maxBytes = 1e6): Promise<Fetched> => {
        const place: FetchPosition = { topic: topic.name, partition: 0, offset, ...(leaderEpoch === null ? {} : { leaderEpoch }) }
        const [found] = await reader.fetch([place], { maxBytes, maxWaitMs: 5_000 })
        return found!
      }
      const leaders: LeaderRun[] = []
      for (let offset = 0; offset < ends[2]!;) {
        const found = await read(offset, leaderBefore(leaders, offset), 1)
        expect(found.truncated).toBeUndefined()
        leaders.push(...found.leaders!)
        offset = found.nextOffset
      }
      const epochs = [...new Set(leaders.map(({ leaderEpoch }) => leaderEpoch))]
      expect(epochs).toHaveLength(3)
      for (const offset of sequence(ends[2]! - 1, 1)) {
        const before = leaderBefore(leaders, offset)
        expect(before).toBe(epochs[ends.findIndex((end) => offset <= end)])
        for (const [i, epoch] of epochs.entries()) {
          const { truncated } = await read(offset, epoch)
          expect([offset, epoch, truncated]).toEqual([offset, epoch, epoch < before! ? { endOffset: ends[i] } : undefined])
        }
      }
      await expect(read(10, 99)).rejects.toMatchObject({ retryable: true, message: expect.stringContaining('epoch 99 was read before') })
      await reader.close()
    },
  )
})
