import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { leaveGroupV5 } from '../../../src/drivers/kafka/client.ts'
import { KafkaMembership } from '../../../src/drivers/kafka/kafka-membership.ts'
import { kafka } from '../../../src/drivers/kafka/index.ts'
import { LogReader } from '../../../src/drivers/kafka/read/log-reader.ts'
import { TopicDirectory } from '../../../src/drivers/kafka/topics/topic-directory.ts'
import { systemClock } from '../../../src/internal/clock.ts'
import { type TestKafka, kafkaAvailable, testKafka } from '../../support/kafka.ts'
import { until } from '../../support/until.ts'
import { TestProcess, rejection } from './support/group-member.ts'

describe.skipIf(kafkaAvailable.missing)(`offsets that a member notes${kafkaAvailable.note}`, () => {
  let cluster: TestKafka
  const closing: { close(): Promise<void> }[] = []
  beforeAll(async () => {
    cluster = await testKafka()
  })
  afterEach(async () => {
    for (const one of closing.splice(0)) await one.close()
  })

  test('are refused while the group does not know it, and taken once it is back', async () => {
    const process = new TestProcess(cluster.brokers)
    const broker = kafka({ brokers: cluster.brokers })
    closing.push(process, broker)
    const [group, topic] = [cluster.name('g'), cluster.name('t')]
    await process.createTopic(topic, 1)
    const { member, held } = process.member({ group, topics: [topic], protocol: 'classic' })
    const parts = { cluster: process.cluster, clock: systemClock }
    const reader = new LogReader({ ...parts, directory: new TopicDirectory(process.cluster), name: 'noting', as: 'membership' })
    const membership = new KafkaMembership({ cluster: process.cluster, group, member, reader, ended: () => undefined })
    const offsets = [{ topic, partition: 0, offset: 7 }]
    expect(await rejection(membership.commit(offsets))).toBe('GROUP_FENCED')
    await member.join()
    await until('the partition is assigned', () => held().length === 1)

    // An operator takes it out of the group: it does not know before its next heartbeat.
    const { memberId } = member.identity()!
    const coordinator = await process.cluster.coordinator('group', group)
    await process.cluster.call(coordinator, leaveGroupV5.api, [group, [{ memberId, groupInstanceId: null, reason: 'taken out' }]])
    expect(await rejection(membership.commit(offsets))).toBe('GROUP_FENCED')
    expect(await broker.committed(group, topic)).toEqual([null])

    await until('it is a member again', () => held().length === 1 && member.identity()?.memberId !== memberId)
    await until('its offsets are taken', async () => (await rejection(membership.commit(offsets))) === 'none')
    expect(await broker.committed(group, topic)).toEqual([7])
    await membership.leave()
  })
})
