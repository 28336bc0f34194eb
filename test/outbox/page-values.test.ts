import { beforeEach, expect, test } from 'vitest'
import type { OutboxMessage } from '../../src/message/outbox-message.ts'
import { message, outboxDatabase } from './support/outbox-database.ts'

const { database, store, publish, reset } = await outboxDatabase('page values')

beforeEach(reset)

/** Everything of the outbox by one tick, in pages of so many. */
async function pages(limit: number) {
  const stream = await store.openStream(0)
  try {
    const state = await stream.takeOver({ owner: 'test', leaseMs: 1 })
    const ticked = state!.unfinished === null ? await stream.tick(false) : { tick: state!.unfinished }
    if (typeof ticked === 'string' || ticked.tick === null) throw new Error('expected a tick')
    const found = [await stream.page(ticked.tick, ticked.tick.doneSeq, limit)]
    while (found.at(-1)!.full) found.push(await stream.page(ticked.tick, found.at(-1)!.last, limit))
    return found
  } finally {
    await stream.close('stopped')
  }
}

const texts = ['plain', '', 'Ã©', 'é', 'ж', '👋🏽', '"\\\n\t', ' 名前 ', 'x'.repeat(5_000)]

test('what was written is what is read, whatever text and bytes it is', async () => {
  const published: OutboxMessage[] = texts.flatMap((text, i) => [
    message(text, i, { aggregateType: `t${text}`, type: text, headers: { [`h${text}`]: text }, payload: Buffer.from(text) }),
    // The same once more, so that the row before has the same type.
    message(`${text}2`, i, { aggregateType: `t${text}`, type: text, headers: {}, payload: Buffer.from([0, 255, 10, 92, i]) }),
  ])
  await publish(...published)
  for (const limit of [1, 3, 1_000]) {
    const rows = (await pages(limit)).flatMap((page) => page.rows)
    expect(rows.map(({ seq: _, createdAt: __, ...rest }) => rest)).toEqual(published)
  }
})

test('numbers, times and cuts are those of the database', async () => {
  await publish(...Array.from({ length: 7 }, (_, i) => message('k', i)))
  const expected = await database.query('select seq::text, created_at from tidemark.outbox order by seq')
  const [first, second, third] = await pages(3)
  expect([first, second, third].map((page) => [page!.rows.length, page!.last, page!.full])).toEqual([
    [3, expected[2]!.seq, true],
    [3, expected[5]!.seq, true],
    [1, expected[6]!.seq, false],
  ])
  expect(first!.rows.map((row) => [String(row.seq), row.createdAt])).toEqual(expected.slice(0, 3).map((row) => [row.seq, row.created_at]))
})

test('a page ends with the row that fills it, and a row larger than a page is a page', async () => {
  const sizes = [3_000_000, 2_000_000, 10, 9_000_000, 10]
  await publish(...sizes.map((size, i) => message(`k${i}`, i, { payload: Buffer.alloc(size, i) })))
  const found = await pages(100)
  expect(found.map((page) => page.rows.map((row) => row.payload.length))).toEqual([[3_000_000, 2_000_000], [10, 9_000_000], [10]])
  expect(found.flatMap((page) => page.rows).every((row, i) => row.payload.equals(Buffer.alloc(sizes[i]!, i)))).toBe(true)
})
