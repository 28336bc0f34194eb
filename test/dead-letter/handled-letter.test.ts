import { expect, test } from 'vitest'
import { removeMessages } from '../../src/drivers/postgres/queries/retry.ts'
import { letterDatabase } from './support/buried.ts'
import { insertManyLetters } from './support/many-letters.ts'

const { database, rows } = await letterDatabase('handled_letter')

interface Plan {
  readonly 'Shared Hit Blocks': number
  readonly 'Shared Read Blocks': number
  readonly Plans?: readonly Plan[]
}

/** Of the node that read most: the first one does not count what a part of `with` has read that nobody asks for its rows. */
function pagesRead(plan: Plan): number {
  return Math.max(plan['Shared Hit Blocks'] + plan['Shared Read Blocks'], ...(plan.Plans ?? []).map(pagesRead))
}

test.each([1, 30])(
  'letters that are handled, %i at once, are found by their ids, also while statistics do not know yet that many are redriven',
  async (count) => {
    await rows('truncate tidemark.dead_letter, tidemark.parked_key, tidemark.parked_msg cascade')
    await rows('alter table tidemark.dead_letter set (autovacuum_enabled = false)')
    await insertManyLetters(database, 5_000)
    await rows(`update tidemark.dead_letter set state = 'dead', group_name = 'group-1', partition = 1`)
    await rows('vacuum analyze')
    await rows(`update tidemark.dead_letter set state = 'redriven'`)
    await rows(`insert into tidemark.parked_key (group_name, topic_id, partition, key, topic, reason, lease, messages)
    select group_name, topic_id, partition, key, topic, '', 1, 1 from tidemark.dead_letter`)
    await rows(`insert into tidemark.parked_msg (group_name, topic, topic_id, partition, key, log_offset, log_time, value, headers, letter_id)
    select group_name, topic, topic_id, partition, key, log_offset, log_time, value, headers, id from tidemark.dead_letter`)
    const partition = { group: 'group-1', topic: 'topic', topicId: 'topic-id', partition: 1 }
    const heads = Array.from({ length: count }, (_, i) => ({
      key: { partition, key: Buffer.from(`key-${i + 1}`), token: '1', attempts: 0, failures: [], crashes: 0, messages: [] },
      offsets: [i + 1],
    }))
    const { text, params = [] } = removeMessages('"tidemark"', heads)

    const [answer] = await rows<{ 'QUERY PLAN': readonly [{ readonly Plan: Plan }] }>(
      `explain (analyze, buffers, format json) ${text}`,
      params,
    )

    expect(pagesRead(answer!['QUERY PLAN'][0].Plan)).toBeLessThan(200 * count)
    expect(await rows('select id from tidemark.dead_letter where ended_at is not null')).toHaveLength(count)
  },
)
