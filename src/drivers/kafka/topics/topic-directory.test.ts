import { expect, test } from 'vitest'
import type { ClusterTopic } from '../wire/cluster.ts'
import { TopicDirectory } from './topic-directory.ts'

const topic = (name: string): ClusterTopic => ({ name, id: `id of ${name}`, partitions: [{ leader: null, leaderEpoch: 0 }] })

function directory(known: readonly string[]) {
  const asked: string[] = []
  const made = new TopicDirectory({
    describe: async (names) => {
      asked.push(...names)
      return names.filter((name) => !name.startsWith('no ')).map(topic)
    },
  })
  made.learn(known.map(topic))
  return { made, asked }
}

test('a topic that somebody else finds wrong meanwhile is still given to whoever asked before', async () => {
  const { made, asked } = directory(['a'])
  const finding = made.find(['a', 'b'])
  made.forget('a')
  const placing = made.of({ topic: 'b', partition: 0 })
  made.forget('b')
  expect([...(await finding).keys()]).toEqual(['a', 'b'])
  expect((await placing).name).toBe('b')
  expect(asked).toEqual(['b', 'b'])
})

test('a topic that is known is not asked for, and one that is not there is an error', async () => {
  const { made, asked } = directory(['a'])
  expect([...(await made.find(['a', 'a'])).keys()]).toEqual(['a'])
  expect(asked).toEqual([])
  await expect(made.find(['a', 'no b'])).rejects.toMatchObject({ code: 'TOPIC_UNKNOWN' })
})
