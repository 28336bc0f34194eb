import { afterAll, beforeEach, expect, test } from 'vitest'
import { main } from '../../src/cli/main.ts'
import { PostgresDatabase, PostgresLedgerStore, migrate } from '../../src/drivers/postgres/index.ts'
import { ledger, once } from '../../src/inbox/index.ts'
import { testDatabase } from '../support/postgres.ts'

const { connectionString } = await testDatabase('cli_inbox')
const database = new PostgresDatabase({ connectionString: connectionString(), maxConnections: 2 })
afterAll(() => database.close())
await migrate(database, { set: 'service' })

beforeEach(() =>
  database.query('truncate tidemark.idempotency_key, tidemark.inbox, tidemark.consumer_position, tidemark.dead_letter cascade'),
)

async function run(...argv: string[]): Promise<string> {
  let stdout = ''
  const io = {
    stdout: { write: (text: string) => (stdout += text) },
    stderr: { write: () => undefined },
    env: { DATABASE_URL: connectionString() },
    user: 'tester',
  }
  expect(await main(argv, io)).toBe(0)
  return stdout
}

test('inbox status of a fresh database says that nothing was forgotten', async () => {
  expect(await run('inbox', 'status')).toBe(
    'Handled ids: all are remembered, none was forgotten yet.\nGroups that get messages without a coordinate: none.\nNo calls are noted in the ledger.\n',
  )
})

test('inbox status tells since when ids are remembered, which groups need them, how calls stand, and what came before', async () => {
  const calls = ledger({ store: new PostgresLedgerStore({ database }), scope: 'billing' })
  await once(calls, { source: 's', id: '1' }, 'charge', () => Promise.resolve('secret-response'))
  await once(calls, { source: 's', id: '2' }, 'charge', () => Promise.reject(new Error('cut off'))).catch(() => undefined)
  await database.query(
    `insert into tidemark.consumer_position (group_name, topic, topic_id, partition, lane, lanes, next_offset) values ('billing', 't', 'one', 0, 0, 1, 5)`,
  )
  await database.query(`insert into tidemark.inbox values ('billing', '/legacy m-1', 0)`)
  await database.query(`insert into tidemark.dead_letter (group_name, topic, topic_id, partition, log_offset, log_time, headers, policy, error_class, reason, attempts)
    values ('billing', 't', 'one', 0, 1, '2020-01-01T00:00:00Z', '[["ce_id","1"]]', 'skip', 'Error', 'no', '[]')`)
  await database.query(`update tidemark.inbox_rotation set current = 1, previous = 0, since = '2026-01-05T00:00:00Z',
    began = array['2026-01-01T00:00:00Z'::timestamptz, '2026-01-05T00:00:00Z', null, null]`)
  const { inbox, calls: counts } = JSON.parse(await run('inbox', 'status', '--json')) as Record<string, unknown>
  expect(inbox).toEqual({
    rememberedSince: '2026-01-01T00:00:00.000Z',
    groupsWithIds: ['billing'],
    oldestForgottenLetter: '2020-01-01T00:00:00.000Z',
  })
  expect(counts).toEqual([
    { scope: 'billing', state: 'done', entries: 1 },
    { scope: 'billing', state: 'unknown', entries: 1 },
  ])
  const text = await run('inbox', 'status')
  expect(text).toContain('! a dead letter of 2020-01-01T00:00:00.000Z came before that')
  expect(text).not.toContain('secret-response')
})
