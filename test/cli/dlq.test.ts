import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { commands, main } from '../../src/cli/main.ts'
import { PostgresAlertStore } from '../../src/drivers/postgres/index.ts'
import { type OwnedPartition, letterDatabase } from '../dead-letter/support/buried.ts'

const { url, database, store, rows, partition } = await letterDatabase('dlq')

let directory: string
beforeAll(async () => void (directory = await mkdtemp(join(tmpdir(), 'tidemark-dlq-'))))
afterAll(() => rm(directory, { recursive: true }))

let owned: OwnedPartition
let group: string
/** A letter that blocks its key, one that does not, and one without a key. */
let ids: readonly number[]

beforeEach(async () => {
  await database.query('truncate tidemark.dead_letter cascade')
  await database.query('truncate tidemark.parked_key, tidemark.parked_msg, tidemark.consumer_contact, tidemark.consumer_position')
  owned = await partition()
  group = owned.ref.group
  await owned.bury('blocked')
  await owned.bury('skipped', 'skip')
  await owned.bury(null)
  const { letters } = await store.list({ groups: [group] })
  ids = letters.map(({ id }) => id).reverse()
})

interface Ran {
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
}

async function run(...argv: readonly string[]): Promise<Ran> {
  let stdout = ''
  let stderr = ''
  const io = {
    stdout: { write: (text: string) => (stdout += text) },
    stderr: { write: (text: string) => (stderr += text) },
    env: { DATABASE_URL: url },
    user: 'tester',
  }
  return { exitCode: await main(['dlq', ...argv], io), stdout, stderr }
}

async function json(...argv: readonly string[]): Promise<Record<string, unknown>> {
  return JSON.parse((await run(...argv, '--json')).stdout) as Record<string, unknown>
}

function audit(): Promise<Record<string, unknown>[]> {
  return rows('select actor, verb, target_id, reason, outcome from tidemark.audit_log order by id desc limit 1')
}

const dlq = commands.map(({ name }) => name).filter((name) => name.startsWith('dlq '))

describe.each(dlq)('%s', (name) => {
  test('prints one JSON document with --json, and nothing else on stdout', async () => {
    const words = name.split(' ').slice(1)
    expect(await json(...words, ...(name === 'dlq search' ? ['text'] : [String(ids[1])]))).toMatchObject({ schemaVersion: 1 })
  })
})

test('stats tells how many there are, by group, type and reason, and which group has no owner', async () => {
  const { stdout, exitCode } = await run('stats')
  expect(exitCode).toBe(0)
  expect(stdout).toContain('3 dead letter(s)')
  expect(stdout).toContain(`! ${group} has 3 dead letter(s) and no owner.`)
  expect(await json('stats')).toMatchObject({
    totalCount: 3,
    byEventType: { Thing: 3 },
    byFailureReason: { 'cannot be handled': 3 },
    groups: [{ group, count: 3, owner: null }],
    findings: [{ finding: 'no-owner', group }],
  })
  await new PostgresAlertStore({ database }).noteContacts([{ group, owner: 'things team', runbook: 'https://wiki.example' }])
  expect(await json('stats')).toMatchObject({ groups: [{ owner: 'things team', runbook: 'https://wiki.example' }], findings: [] })
  expect((await run('stats', '--fail-if-any')).exitCode).toBe(3)
})

test('a consumer without an owner is a finding before it has a dead letter', async () => {
  await database.query('truncate tidemark.dead_letter cascade')
  const alerts = new PostgresAlertStore({ database })
  await alerts.noteContacts([
    { group: 'owned', owner: 'a team', runbook: null },
    { group: 'started', owner: null, runbook: null },
  ])
  const { stdout } = await run('stats')
  expect(stdout).toContain('No dead letters.')
  expect(stdout).toContain('! started has no owner.')
  const { findings } = (await json('stats')) as { findings: readonly unknown[] }
  // One that only has positions was made by hand: it is a consumer all the same.
  expect(findings).toMatchObject([group, 'started'].sort().map((name) => ({ finding: 'no-owner', group: name })))
})

test('stats says which keys wait in more than one partition of a topic, and where', async () => {
  const sibling = await owned.sibling(4)
  await sibling.bury('blocked')
  expect((await run('stats')).stdout).toContain(
    `! ${group}: 1 key(s) of things wait in more than one partition, each tried again by itself: blocked (0, 4).`,
  )
  const { findings } = (await json('stats')) as { findings: readonly { readonly finding: string }[] }
  expect(findings.filter(({ finding }) => finding === 'split-keys')).toMatchObject([
    { group, topic: 'things', keys: 1, partitions: [0, 4], examples: [{ key: 'blocked', partitions: [0, 4] }] },
  ])
})

test('list shows a page of a filter, without payloads, and how to go on', async () => {
  const { stdout, stderr } = await run('list', '--group', group, '--limit', '2')
  expect(stdout.split('\n')).toHaveLength(4)
  expect(stdout).not.toContain('"n":')
  const next = /--after "([^"]+)"/.exec(stderr)![1]!
  expect(await json('list', '--group', group, '--limit', '2', '--after', next)).toMatchObject({ letters: [{ id: ids[0] }], next: null })
  expect(await json('list', '--key', 'skipped')).toMatchObject({ letters: [{ id: ids[1], key: 'skipped', policy: 'skip' }] })
  expect(await json('list', '--since', '1h', '--assignee', '-')).toMatchObject({ letters: [{}, {}, {}] })
  expect(await json('list', '--before', '1h')).toMatchObject({ letters: [] })
  expect(await json('list', '--state', 'redriven,discarded')).toMatchObject({ letters: [] })
  expect((await run('list', '--fail-if-any')).exitCode).toBe(3)
})

test.each([
  [['list', '--since', 'yesterday'], '--since'],
  [['list', '--state', 'sleeping'], '--state'],
  [['list', '--limit', '0'], '--limit'],
  [['list', '--header', 'x'], 'NAME=VALUE'],
  [['show'], 'one id'],
  [['show', 'x17'], 'whole number'],
  [['assign', '17'], '--to'],
  [['discard', '17'], '--yes'],
  [['comment', '17'], 'TEXT'],
  [['edit', '17'], '--value'],
])('a wrong call says what it takes: %j', async (argv, words) => {
  const { exitCode, stdout, stderr } = await run(...argv)
  expect([exitCode, stdout]).toEqual([2, ''])
  expect(stderr).toContain(words)
})

test('groups puts letters together that died alike', async () => {
  expect(await json('groups')).toMatchObject({
    groups: [{ group, type: 'Thing', errorClass: 'TypeError', count: 3, example: { id: ids[2] } }],
  })
  expect((await run('groups', '--type', 'None')).stdout).toContain('No dead letters')
})

test('show hides the payload unless it is asked for, and then keeps who looked', async () => {
  const id = String(ids[1])
  const { stdout } = await run('show', id)
  expect(stdout).toContain('cannot be handled')
  expect(stdout).toContain('not shown')
  expect(stdout + JSON.stringify(await json('show', id))).not.toContain('{"n":1}')
  const looks = `select actor, reason from tidemark.audit_log where verb = 'dead-letter.view' and target_id = $1 order by id limit 1`
  expect(await rows(looks, [id])).toEqual([])
  expect((await run('show', id, '--payload', '--reason', 'ticket 5')).stdout).toContain('{"n":1}')
  expect(await json('show', id, '--payload')).toMatchObject({ letter: { id: ids[1], value: '{"n":1}' } })
  expect(await rows(looks, [id])).toEqual([{ actor: 'tester', reason: 'ticket 5' }])
  expect((await run('show', '999999')).exitCode).toBe(4)
})

test('search finds letters by a text, whatever became of them', async () => {
  await run('discard', String(ids[0]), '--yes')
  expect(await json('search', 'CANNOT', '--group', group)).toMatchObject({ letters: [{}, {}, { state: 'discarded' }] })
  expect(await json('search', '"n":2')).toMatchObject({ letters: [] })
  expect(await json('search', '"n":2', '--in-payload')).toMatchObject({ letters: [{ id: ids[2] }] })
})

test('assign, comment, archive and restore are kept with who did it, in the history and in the audit log', async () => {
  const id = String(ids[1])
  expect((await run('assign', id, String(ids[2]), '--to', 'ada')).stdout).toContain(`Assigned to ada: ${ids[1]}, ${ids[2]}`)
  expect(await audit()).toEqual([{ actor: 'tester', verb: 'dead-letter.assign', target_id: String(ids[2]), reason: null, outcome: 'done' }])
  await run('comment', id, 'the price is missing', '--actor', 'ada')
  expect((await run('archive', id, '--dry-run')).stdout).toContain('Would be done')
  expect((await run('archive', id, '--reason', 'known')).exitCode).toBe(0)
  expect(await json('list', '--archived')).toMatchObject({ letters: [{ id: ids[1], assignee: 'ada' }] })
  expect((await run('restore', id)).exitCode).toBe(0)
  expect((await store.get(ids[1]!))?.history.map(({ action, actor }) => `${actor} ${action}`)).toEqual([
    'tester assigned',
    'ada commented',
    'tester archived',
    'tester restored',
  ])
})

test('what was done of several stands: exit code 8 for some, that of the trouble for none', async () => {
  const some = await run('archive', String(ids[0]), String(ids[1]), '999999')
  expect(some.exitCode).toBe(8)
  expect(some.stdout).toContain(`Archived: ${ids[1]}`)
  expect(some.stdout).toContain('blocks its key')
  expect((await run('archive', String(ids[0]))).exitCode).toBe(6)
  expect((await run('archive', '999999')).exitCode).toBe(4)
  expect(await audit()).toMatchObject([{ outcome: 'failed' }])
})

test('discard asks for --yes, ends the letter, and lets its key go on', async () => {
  const id = String(ids[0])
  await owned.queue('blocked')
  expect((await run('discard', id, '--dry-run')).exitCode).toBe(0)
  expect((await store.get(ids[0]!))?.state).toBe('dead')
  expect((await run('discard', id, '--reason', 'test data', '--yes')).exitCode).toBe(0)
  expect(await store.get(ids[0]!)).toMatchObject({ state: 'discarded', endedBy: 'tester', endReason: 'test data' })
  expect(await rows('select log_offset::int as n from tidemark.parked_msg')).toEqual([{ n: 3 }])
  expect((await run('discard', id, '--yes')).exitCode).toBe(6)
})

describe('edit', () => {
  let value: string
  let events: string
  beforeAll(async () => {
    value = join(directory, 'value.json')
    events = join(directory, 'events.mjs')
    const schema = `{ '~standard': { version: 1, vendor: 'test', validate: (value) => typeof value.n === 'number' ? { value } : { issues: [{ message: 'no', path: ['n'] }] } } }`
    const codec = `{ contentType: 'application/json', encode: (data) => Buffer.from(JSON.stringify(data)), decode: (bytes) => JSON.parse(bytes.toString()) }`
    await writeFile(
      events,
      `export const all = [{ type: 'Thing', aggregate: 'thing', topic: 'things', version: 1, schema: ${schema}, upcasters: {}, codec: ${codec}, untyped: true, key: () => '' }]`,
    )
  })

  test('holds the new message against the event of a module, and changes nothing where it does not satisfy it', async () => {
    const id = String(ids[1])
    await writeFile(value, '{"n":"one"}')
    const edit = ['edit', id, '--value', value, '--events', events]
    // The test's letters name no type in their headers, so the event that takes such ones is theirs.
    await database.query(`update tidemark.dead_letter set type = null`)
    expect((await run(...edit, '--yes')).exitCode).toBe(2)
    expect((await run(...edit, '--dry-run')).exitCode).toBe(2)
    await writeFile(value, '{"n":42}')
    expect((await run(...edit)).stderr).toContain('--yes')
    expect((await run(...edit, '--dry-run')).stdout).toContain('Would edit')
    expect((await store.get(ids[1]!))?.edits).toBe(0)
    expect((await run(...edit, '--yes', '--seen', '1')).stdout).toContain(`Edited: ${id}`)
    expect((await run(...edit, '--yes', '--seen', '1')).exitCode).toBe(6)
    expect((await store.get(ids[1]!))?.record.value?.toString()).toBe('{"n":42}')
    expect(await rows(`select outcome from tidemark.audit_log where verb = 'dead-letter.edit' order by id desc limit 2`)).toEqual([
      { outcome: 'failed' },
      { outcome: 'done' },
    ])
  })

  test('does without a schema only when told so, and can redrive at once', async () => {
    const id = String(ids[0])
    await writeFile(value, 'anything')
    expect((await run('edit', id, '--value', value, '--yes')).stderr).toContain('--unchecked')
    const { letter } = await json('edit', id, '--value', value, '--unchecked', '--redrive', '--yes')
    expect(letter).toMatchObject({ id: ids[0], state: 'redriven', edits: 1 })
    // What the list of letters has, and no payload.
    expect(Object.keys(letter as object)).toEqual(Object.keys((await store.list({ states: ['redriven'] })).letters[0]!))
    expect(await rows(`select verb from tidemark.audit_log order by id desc limit 2`)).toEqual([
      { verb: 'dead-letter.redrive' },
      { verb: 'dead-letter.edit' },
    ])
    expect(await rows('select value, dead from tidemark.parked_msg')).toEqual([{ value: Buffer.from('anything'), dead: false }])
  })
})

test('export writes every letter with its payload as a JSON line, to a file for its owner alone, and is kept', async () => {
  const out = join(directory, 'letters.jsonl')
  expect(await json('export', '--group', group, '--out', out)).toMatchObject({ exported: 3 })
  const lines = (await readFile(out, 'utf8')).trim().split('\n')
  const values = lines.map((line) => (JSON.parse(line) as { readonly value: string }).value)
  expect(values.sort()).toEqual(['{"n":0}', '{"n":1}', '{"n":2}'])
  expect((await stat(out)).mode & 0o777).toBe(0o600)
  expect(await audit()).toMatchObject([{ verb: 'dead-letter.export', actor: 'tester' }])
  expect((await run('export', '--out', out)).stderr).toContain('already')
  const { stdout, stderr } = await run('export', '--key', 'skipped')
  expect(JSON.parse(stdout)).toMatchObject({ id: ids[1], value: '{"n":1}' })
  expect(stderr).toContain('Exported 1')
})

test('an export waits for whoever reads it: no more than one line is ever held back', async () => {
  let held = 0
  const lines: string[] = []
  const slow: Writable = new Writable({
    highWaterMark: 1,
    decodeStrings: false,
    write(line: string, _encoding, done) {
      held = Math.max(held, slow.writableLength - line.length)
      lines.push(line)
      setImmediate(done)
    },
  })
  const io = { stdout: slow, stderr: { write: () => true }, env: { DATABASE_URL: url }, user: 'tester' }
  expect(await main(['dlq', 'export', '--group', group], io)).toBe(0)
  expect([lines.length, held]).toEqual([3, 0])
})
