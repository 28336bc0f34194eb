import { describe, expect, test } from 'vitest'
import type { OutboxMessage } from '../message/outbox-message.ts'
import type { Row, Transaction } from '../message/transaction.ts'
import { OwnTransaction, type TransactionWatch, bufferPublish, refusal } from './own-transaction.ts'

const nothing = (): void => undefined
const free: TransactionWatch = {
  asks: nothing,
  wantsRaw: nothing,
  makes: nothing,
  answered: nothing,
  refuses: (_, error) => refusal(error),
}
const message: OutboxMessage = { id: 'i', aggregateType: 'a', aggregateId: 'k', type: 't', payload: Buffer.from(''), headers: {} }

/** A transaction that notes what reaches it, and answers after a turn. */
function recording(): { tx: Transaction; sent: string[] } {
  const sent: string[] = []
  const query = async <R extends Row>(text: string): Promise<R[]> => {
    sent.push(text)
    await new Promise((resolve) => setImmediate(resolve))
    return []
  }
  return { tx: { query, raw: 'client' }, sent }
}

describe('a transaction that Tidemark began', () => {
  test('refuses what would end it, and sends nothing', async () => {
    const { tx, sent } = recording()
    await expect(new OwnTransaction(tx, free, 0).query('commit')).rejects.toMatchObject({ code: 'INPUT_INVALID' })
    expect(sent).toEqual([])
  })

  test('looks at a text full of comments in no time', async () => {
    const { tx } = recording()
    const started = performance.now()
    await new OwnTransaction(tx, free, 0).query(`${'/* x */'.repeat(5_000)} select 1`)
    expect(performance.now() - started).toBeLessThan(500)
  })

  test('after the end of the work it takes nothing any more', async () => {
    const { tx, sent } = recording()
    const own = new OwnTransaction(tx, free, 0)
    own.close()
    await expect(own.query('select 1')).rejects.toMatchObject({ code: 'TRANSACTION_CLOSED' })
    expect(() => own.raw).toThrow('had ended')
    expect(() => bufferPublish(own, message)).toThrow('had ended')
    expect(sent).toEqual([])
  })
})

test('a message is buffered only where the transaction is one that Tidemark began', () => {
  const { tx } = recording()
  expect(bufferPublish(tx, message)).toBe(false)
  const own = new OwnTransaction(tx, free, 0)
  expect(bufferPublish(own, message)).toBe(true)
  expect(own.published).toEqual([message])
})
