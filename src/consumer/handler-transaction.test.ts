import { describe, expect, test } from 'vitest'
import type { OutboxMessage } from '../message/outbox-message.ts'
import type { Row, Transaction } from '../message/transaction.ts'
import { HandlerTransaction, type StatementWatch, bufferPublish } from './handler-transaction.ts'

const free: StatementWatch = { asks: () => undefined, wantsRaw: () => undefined, answered: () => undefined }
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

describe('the transaction of a handler', () => {
  test.each([
    'commit',
    ' COMMIT;',
    'end',
    'rollback',
    'rollback work',
    'begin',
    'start transaction',
    'abort',
    "prepare transaction 'x'",
    '-- done\ncommit',
    '/* a */ /* b */ commit and chain',
  ])('refuses to begin or end it: %s', async (text) => {
    const { tx, sent } = recording()
    await expect(new HandlerTransaction(tx, free, 0).query(text)).rejects.toMatchObject({ code: 'INPUT_INVALID' })
    expect(sent).toEqual([])
  })

  test.each([
    'savepoint s',
    'rollback to s',
    'ROLLBACK TO SAVEPOINT s',
    'rollback transaction to savepoint s',
    'release s',
    'insert into commits values (1)',
    'select 1 as end',
    'with x as (select 1) select * from x',
    'endeavour()',
    '/* commit */ select 1',
  ])('lets others pass: %s', async (text) => {
    const { tx, sent } = recording()
    await new HandlerTransaction(tx, free, 0).query(text)
    expect(sent).toEqual([text])
  })

  test('looks at a text full of comments in no time', async () => {
    const { tx } = recording()
    const started = performance.now()
    await new HandlerTransaction(tx, free, 0).query(`${'/* x */'.repeat(5_000)} select 1`)
    expect(performance.now() - started).toBeLessThan(500)
  })

  test('a text of several commands is not overtaken by what is asked later', async () => {
    const { tx, sent } = recording()
    const own = new HandlerTransaction(tx, free, 0)
    await Promise.all([own.query('select 1; select 2'), own.query('select 3')])
    expect(sent).toEqual(['select 1; select 2', 'select 3'])
  })

  test('after the handler has ended it takes nothing any more', async () => {
    const { tx, sent } = recording()
    const own = new HandlerTransaction(tx, free, 0)
    own.close()
    await expect(own.query('select 1')).rejects.toMatchObject({ code: 'TRANSACTION_CLOSED' })
    expect(() => own.raw).toThrow('after the handler had ended')
    expect(() => bufferPublish(own, message)).toThrow('after the handler had ended')
    expect(sent).toEqual([])
  })
})

test('a message is buffered only where the transaction is that of a handler', () => {
  const { tx } = recording()
  expect(bufferPublish(tx, message)).toBe(false)
  const own = new HandlerTransaction(tx, free, 0)
  expect(bufferPublish(own, message)).toBe(true)
  expect(own.published).toEqual([message])
})
