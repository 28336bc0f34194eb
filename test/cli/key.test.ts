import { beforeEach, describe, expect, test } from 'vitest'
import { commands, main } from '../../src/cli/main.ts'
import { type OwnedPartition, letterDatabase } from '../dead-letter/support/buried.ts'

const { url, database, rows, partition } = await letterDatabase('key')

let owned: OwnedPartition
let group: string

beforeEach(async () => {
  await database.query('truncate tidemark.dead_letter cascade')
  await database.query('truncate tidemark.parked_key, tidemark.parked_msg, tidemark.consumer_position')
  owned = await partition()
  group = owned.ref.group
})

async function run(...argv: readonly string[]): Promise<{ readonly exitCode: number; readonly stdout: string; readonly stderr: string }> {
  let stdout = ''
  let stderr = ''
  const io = {
    stdout: { write: (text: string) => (stdout += text) },
    stderr: { write: (text: string) => (stderr += text) },
    env: { DATABASE_URL: url },
    user: 'tester',
  }
  return { exitCode: await main(['key', ...argv], io), stdout, stderr }
}

async function json(...argv: readonly string[]): Promise<Record<string, unknown>> {
  return JSON.parse((await run(...argv, '--json')).stdout) as Record<string, unknown>
}

describe.each(commands.map(({ name }) => name).filter((name) => name.startsWith('key ')))('%s', (name) => {
  test('prints one JSON document with --json, and nothing else on stdout', async () => {
    const words = name.split(' ').slice(1)
    expect(await json(...words, ...(name === 'key list' ? [] : ['things/k']))).toMatchObject({ schemaVersion: 1 })
  })
})

test('a key is held, listed and released, by whom and why, with a line each', async () => {
  await owned.bury('k')
  expect(await run('hold', 'things/k', '--reason', 'two customers are merged')).toMatchObject({
    exitCode: 0,
    stdout: `Held: things/k of ${group}, 1 message(s) waiting\n`,
  })
  expect((await run('hold', 'things/k', '--actor', 'ada')).stdout).toContain('Held already, by tester')
  const { stdout } = await run('list')
  expect(stdout).toMatch(/^group +key +waiting +for +by +reason\n/)
  expect(stdout).toMatch(/things\/k +1 +\d+ .+ tester +two customers are merged\n$/)
  const held = { group, topic: 'things', key: 'k', partitions: [0], by: 'tester', reason: 'two customers are merged', messages: 1 }
  expect(await json('list', '--group', group)).toMatchObject({ held: [held] })
  expect(await json('list', '--group', 'another')).toMatchObject({ held: [] })
  expect((await run('release', 'things/k', '--actor', 'ada', '--reason', 'merged')).stdout).toContain('Released: things/k')
  expect((await run('list')).stdout).toBe('Nobody holds a key.\n')
  const lines = await rows('select actor, verb, target_id, reason, origin, outcome from tidemark.audit_log order by id desc limit 3')
  expect(lines.reverse()).toMatchObject([
    { actor: 'tester', verb: 'key.hold', target_id: 'things/k', reason: 'two customers are merged', origin: 'cli', outcome: 'done' },
    { actor: 'ada', verb: 'key.hold' },
    { actor: 'ada', verb: 'key.release', target_id: 'things/k', reason: 'merged' },
  ])
})

test('--dry-run changes nothing', async () => {
  expect((await run('hold', 'things/k', '--dry-run')).stdout).toBe(`Would hold things/k of ${group}.\n`)
  expect(await rows('select from tidemark.parked_key')).toEqual([])
  await run('hold', 'things/k')
  expect((await run('release', 'things/k', '--dry-run')).stdout).toBe(`Would release things/k of ${group}.\n`)
  expect(await rows('select from tidemark.parked_key where held_by is not null')).toHaveLength(1)
})

test('what nobody reads or holds is not found, and what may be of two groups has to be said', async () => {
  expect(await run('hold', 'others/k')).toMatchObject({
    exitCode: 4,
    stderr: 'tidemark: NOT_FOUND: No group reads outbox.event.others or others.\n',
  })
  expect(await run('release', 'things/k')).toMatchObject({ exitCode: 4, stderr: expect.stringContaining('Nobody holds') as unknown })
  expect((await run('hold', 'k')).exitCode).toBe(2)
  const other = await partition()
  const { exitCode, stderr } = await run('hold', 'things/k')
  expect(exitCode).toBe(2)
  expect(stderr).toContain(other.ref.group)
  expect((await run('hold', 'things/k', '--group', other.ref.group)).exitCode).toBe(0)
  expect((await run('hold', 'things/k', '--group', 'another')).exitCode).toBe(4)
  expect((await run('release', 'things/k')).exitCode).toBe(0)
})
