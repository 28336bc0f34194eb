import { beforeEach, expect, test } from 'vitest'
import { main } from '../../src/cli/main.ts'
import { PostgresOperationStore } from '../../src/drivers/postgres/index.ts'
import { redriveKind, redriveParams } from '../../src/dead-letter/index.ts'
import { Audit, type Operation, Operations } from '../../src/operation/index.ts'
import { letterDatabase } from '../dead-letter/support/buried.ts'
import { insertManyLetters, insertManyPositions } from '../dead-letter/support/many-letters.ts'
import { startProgram } from '../support/child-program.ts'
import { until } from '../support/until.ts'

const { url, database, store: letters, partition, rows } = await letterDatabase('cli_op')
const store = new PostgresOperationStore({ database })
const operations = new Operations({ store, kinds: [redriveKind({ store: async () => letters })], audit: new Audit({ store }) })
const ada = { id: 'ada', roles: [] }

async function run(...argv: string[]) {
  let stdout = ''
  let stderr = ''
  let interrupt = (): void => undefined
  const ended = main(argv, {
    stdout: { write: (text) => (stdout += text) },
    stderr: { write: (text) => (stderr += text) },
    env: { DATABASE_URL: url },
    user: 'tester',
    onInterrupt: (listener) => {
      interrupt = listener
      return () => undefined
    },
  })
  return {
    ended,
    interrupt: () => interrupt(),
    result: async () => ({ exitCode: await ended, stdout, stderr }),
    heard: () => stderr,
    printed: () => stdout,
  }
}

async function output(...argv: string[]) {
  return (await run(...argv)).result()
}

async function json(...argv: string[]): Promise<Record<string, unknown> & { readonly operation: Operation }> {
  return JSON.parse((await output(...argv, '--json')).stdout) as Record<string, unknown> & { readonly operation: Operation }
}

/** Each line is a document by itself. */
function jsonLines(stdout: string): readonly { readonly operation?: Operation }[] {
  expect(stdout.endsWith('\n')).toBe(true)
  return stdout
    .slice(0, -1)
    .split('\n')
    .map((line) => JSON.parse(line) as { readonly operation?: Operation })
}

beforeEach(async () => {
  await database.query(
    'truncate tidemark.dead_letter, tidemark.dead_letter_edit, tidemark.dead_letter_event, tidemark.parked_key, tidemark.parked_msg',
  )
  await database.query(`update tidemark.operation set state = 'cancelled' where state not in ('done', 'cancelled')`)
})

/** What a retrier would do: redriven letters are handled. */
async function handleAll(): Promise<void> {
  await database.query(`update tidemark.dead_letter set ended_at = now() where state = 'redriven' and ended_at is null`)
}

test('dlq redrive tells what it would do, asks for --yes, and changes nothing before', async () => {
  const owned = await partition()
  for (const key of ['a', 'a', 'b']) await owned.bury(key, 'skip')
  const dry = await output('dlq', 'redrive', '--type', 'Thing', '--dry-run')
  expect([dry.exitCode, dry.stdout]).toEqual([0, expect.stringContaining('3 dead letter(s) of 2 key(s)')])
  const asked = await output('dlq', 'redrive', '--type', 'Thing')
  expect([asked.exitCode, asked.stderr]).toEqual([2, expect.stringContaining('--yes')])
  expect((await output('dlq', 'redrive', '--type', 'Other', '--yes')).stdout).toContain('No dead letters like that')
  expect((await letters.count({})).count).toBe(3)
})

test('dlq redrive runs in the foreground, tells its progress on stderr, and ends with what became of it', async () => {
  const owned = await partition()
  for (const key of ['a', 'a', 'b']) await owned.bury(key, 'skip')
  const running = await run('dlq', 'redrive', '--no-canary', '--reason', 'fixed', '--yes', '--json')
  await until('all are out', async () => (await letters.count({})).count === 0)
  await handleAll()
  const { exitCode, stdout, stderr } = await running.result()
  const { operation } = JSON.parse(stdout) as { readonly operation: Operation }
  expect([exitCode, operation.state, operation.counts.done, operation.reason]).toEqual([0, 'done', 3, 'fixed'])
  expect(stderr).toContain('3 dead letter(s)')
  const lines = (await rows('select actor, verb, origin from tidemark.audit_log where target_id = $1 order by id', [
    operation.id,
  ])) as unknown
  expect(lines).toEqual([
    { actor: 'tester', verb: 'dead-letter.redrive', origin: 'cli' },
    { actor: 'tester', verb: 'dead-letter.redrive', origin: 'cli' },
    { actor: 'tester', verb: 'operation.end', origin: 'cli' },
  ])
})

test('an interrupt pauses what runs in the foreground, says how to go on, and op resume does', async () => {
  const owned = await partition()
  for (let i = 0; i < 30; i++) await owned.bury(`key ${i}`, 'skip')
  const running = await run('dlq', 'redrive', '--rate', '20', '--no-canary', '--yes')
  await until('some are out', async () => (await letters.count({})).count < 28)
  running.interrupt()
  const { exitCode, stderr, stdout } = await running.result()
  const [{ id }] = (await operations.list({ limit: 1 })) as [Operation]
  expect([exitCode, stderr]).toEqual([130, expect.stringContaining(`tidemark op resume ${id}`)])
  expect(stdout).toContain('paused')
  const left = (await letters.count({})).count
  expect(left).toBeGreaterThan(0)
  await database.query(
    `update tidemark.operation set settings = '{"rate":null,"canary":[1],"maxFailures":0.2,"observeMs":0}' where id = $1`,
    [id],
  )
  const resumed = await output('op', 'resume', id)
  expect([resumed.exitCode, resumed.stdout]).toEqual([0, expect.stringContaining('done: 30 of 30')])
  expect(await rows('select distinct redrives from tidemark.dead_letter')).toEqual([{ redrives: 1 }])
})

test('a command line that is killed at half leaves an operation that op resume finishes, each letter redriven once', async () => {
  await insertManyLetters(database, 1_000)
  await insertManyPositions(database)
  const program = startProgram(
    new URL('support/cli-process.ts', import.meta.url),
    ['dlq', 'redrive', '--yes', '--rate', '500', '--no-canary'],
    {
      env: { DATABASE_URL: url },
    },
  )
  await until('half is out', async () => ((await operations.list({ states: ['running'], limit: 1 }))[0]?.next ?? 0) >= 300)
  await program.kill()
  const [{ id, next }] = (await operations.list({ limit: 1 })) as [Operation]
  expect(next).toBeLessThan(900)
  await database.query(
    `update tidemark.operation set settings = '{"rate":null,"canary":[1],"maxFailures":0.2,"observeMs":0}' where id = $1`,
    [id],
  )
  // Nobody else is to wait for the lease of the dead one in a test.
  await database.query('update tidemark.operation set lease_until = now() where id = $1', [id])
  const { exitCode } = await output('op', 'resume', id)
  expect([exitCode, (await operations.get(id)).counts.started]).toEqual([0, 900])
  expect(await rows(`select redrives, count(*)::int as letters from tidemark.dead_letter where redrives > 0 group by 1`)).toEqual([
    { redrives: 1, letters: 900 },
  ])
})

test('Ctrl-C in a real process pauses the operation and ends with 130', async () => {
  const owned = await partition()
  for (let i = 0; i < 30; i++) await owned.bury(`key ${i}`, 'skip')
  const flags = ['dlq', 'redrive', '--yes', '--rate', '20', '--no-canary']
  const program = startProgram(new URL('support/cli-process.ts', import.meta.url), flags, { env: { DATABASE_URL: url } })
  await until('some are out', async () => (await letters.count({})).count < 28)
  program.signal('SIGINT')
  expect(await program.ended).toMatchObject({
    code: 130,
    signal: null,
    stderr: expect.stringContaining('Paused. Go on: tidemark op resume'),
  })
  expect((await operations.list({ limit: 1 }))[0]).toMatchObject({ state: 'paused', runner: null })
})

test('--detach starts it and leaves it to others; op watch sees it, and an interrupt leaves it alone', async () => {
  const owned = await partition()
  await owned.bury('a', 'skip')
  const { operation } = await json('dlq', 'redrive', '--yes', '--detach')
  expect(operation.state).toBe('freezing')
  const watching = await run('op', 'watch', operation.id)
  await until('it has said something', () => watching.heard().includes('freezing'))
  watching.interrupt()
  const left = await watching.result()
  expect([left.exitCode, left.stderr]).toEqual([130, expect.stringContaining('op watch')])
  expect((await operations.get(operation.id)).state).toBe('freezing')
  expect((await json('op', 'cancel', operation.id, '--reason', 'no')).operation.state).toBe('cancelled')
  expect((await output('op', 'resume', operation.id)).exitCode).toBe(6)
})

test('op watch --json prints a line of JSON for each change, the end state on the last, and an error as a line, too', async () => {
  const owned = await partition()
  for (const key of ['a', 'b']) await owned.bury(key, 'skip')
  const { operation } = await json('dlq', 'redrive', '--yes', '--no-canary', '--detach')
  const watching = await run('op', 'watch', operation.id, '--json')
  await until('it has said something', () => watching.printed() !== '')
  const resuming = await run('op', 'resume', operation.id)
  await until('all are out', async () => (await letters.count({})).count === 0)
  await handleAll()
  expect((await resuming.result()).exitCode).toBe(0)
  const { exitCode, stdout } = await watching.result()
  const lines = jsonLines(stdout)
  expect(lines[0]).toMatchObject({ schemaVersion: 1, operation: { id: operation.id, state: 'freezing', next: 0 } })
  expect([exitCode, lines.at(-1)!.operation]).toEqual([0, JSON.parse(JSON.stringify(await operations.get(operation.id))) as unknown])
  expect(lines.length).toBeGreaterThan(1)
  expect(new Set(stdout.split('\n')).size).toBe(lines.length + 1)

  const unknown = await output('op', 'watch', 'nonsense', '--json')
  expect([unknown.exitCode, jsonLines(unknown.stdout)]).toEqual([4, [{ schemaVersion: 1, error: expect.anything() as unknown }]])
})

test.each([
  ['pause', 8, 'paused'],
  ['cancel', 1, 'cancelled'],
])('op watch --json ends when somebody else does %s, with exit code %i', async (verb, exitCode, state) => {
  const owned = await partition()
  await owned.bury('a', 'skip')
  const { operation } = await json('dlq', 'redrive', '--yes', '--detach')
  const watching = await run('op', 'watch', operation.id, '--json')
  await until('it has said something', () => watching.printed() !== '')
  await output('op', verb, operation.id)
  const { stdout, ...ended } = await watching.result()
  expect([ended.exitCode, jsonLines(stdout).map((line) => line.operation?.state)]).toEqual([exitCode, ['freezing', state]])
})

test('op list, show and pause', async () => {
  const owned = await partition()
  await owned.bury('a', 'skip')
  await database.query('update tidemark.dead_letter set redrives = 9')
  const { id } = await operations.start('redrive', redriveParams({}), { actor: ada, reason: 'why not', settings: { observeMs: 0 } })
  expect((await output('op', 'list', '--state', 'freezing')).stdout).toMatch(new RegExp(`${id}  redrive  freezing  0/about 1`))
  expect((await json('op', 'pause', id)).operation.state).toBe('paused')
  expect((await output('op', 'resume', id)).exitCode).toBe(8)
  const shown = await output('op', 'show', id)
  expect(shown.stdout).toMatch(/by ada at .*: why not/)
  expect(shown.stdout).toContain('redriven 9 times before')
  expect(await json('op', 'show', id)).toMatchObject({ operation: { id, counts: { skipped: 1 } }, items: [{ outcome: 'skipped' }] })
  expect((await output('op', 'list', '--state', 'nonsense')).exitCode).toBe(2)
  expect((await output('op', 'show', 'nonsense')).exitCode).toBe(4)
  expect((await output('op', 'show')).exitCode).toBe(2)
})

test('a redrive is planned by one, looked at, and begun by another one', async () => {
  const owned = await partition()
  for (const key of ['a', 'b']) await owned.bury(key, 'skip')
  const planned = await json('dlq', 'redrive', '--plan', '--no-canary', '--actor', 'ada', '--reason', 'fixed in 1.4.2')
  const { id } = planned.operation
  expect(planned.operation).toMatchObject({ state: 'planned', actor: { id: 'ada' }, planned: { count: 2 } })
  const looked = await output('op', 'confirm', id, '--dry-run')
  expect([looked.exitCode, looked.stdout]).toEqual([0, expect.stringMatching(/planned: 2 items[^]*keys: 2/)])
  const asked = await output('op', 'confirm', id)
  expect([asked.exitCode, asked.stderr]).toEqual([2, expect.stringContaining('--yes')])
  expect((await letters.count({})).count).toBe(2)
  const running = await run('op', 'confirm', id, '--yes', '--actor', 'ben', '--roles', 'operator')
  await until('both are redriven', async () => (await letters.count({})).count === 0)
  await handleAll()
  expect((await running.result()).exitCode).toBe(0)
  const lines = await rows(`select actor, roles, details ->> 'phase' as phase from tidemark.audit_log where target_id = $1 order by id`, [
    id,
  ])
  expect(lines.slice(0, 2)).toEqual([
    { actor: 'ada', roles: [], phase: 'planned' },
    { actor: 'ben', roles: ['operator'], phase: 'confirmed' },
  ])
  expect((await output('op', 'confirm', id, '--yes')).exitCode).toBe(6)
  expect((await output('op', 'confirm', 'nonsense', '--yes')).exitCode).toBe(4)
})

test('an operation of the service’s own kind is confirmed here, and left to the service', async () => {
  const recount = { name: 'recount', effect: 'idempotent', plan: async () => ({ count: 1, summary: {} }) } as const
  const kind = { ...recount, async *freeze() {}, step: async () => [] }
  const own = new Operations({ store, kinds: [kind], audit: new Audit({ store }) })
  const { id } = await own.plan('recount', {}, { actor: ada })
  const here = await output('op', 'confirm', id, '--yes')
  expect([here.exitCode, here.stderr]).toEqual([2, expect.stringContaining('--detach')])
  expect((await json('op', 'confirm', id, '--yes', '--detach')).operation.state).toBe('freezing')
})

test('audit tells who did what, filtered, page by page, without passwords', async () => {
  const secret = 'postgres://me:swordfish@db/shop'
  const target = { type: 'dead-letter', id: '17' }
  const audit = new Audit({ store, host: 'desk-4' })
  await audit.within(
    { actor: { id: 'auditor', roles: ['a', 'b'] }, verb: 'dead-letter.assign', target, reason: `see ${secret}` },
    async (line) => store.record({ ...line, details: { url: secret, list: [secret], letters: 3 } }),
  )
  await audit.view({ id: 'auditor', roles: [] }, target)
  const by = async (...flags: string[]): Promise<readonly Record<string, unknown>[]> =>
    (await json('audit', ...flags))['lines'] as readonly Record<string, unknown>[]
  const all = await by('--actor', 'auditor')
  expect(all).toMatchObject([
    { verb: 'dead-letter.view', reason: null },
    { verb: 'dead-letter.assign', actor: { id: 'auditor', roles: ['a', 'b'] }, target, origin: 'api', host: 'desk-4', outcome: 'done' },
  ])
  expect(all[1]).toMatchObject({ details: { letters: 3 } })
  for (const shown of [JSON.stringify(all), (await output('audit', '--actor', 'auditor')).stdout]) {
    expect(shown).not.toContain('swordfish')
    expect(shown).toContain('dead-letter')
  }
  expect(await by('--actor', 'auditor', '--verb', 'dead-letter.view')).toHaveLength(1)
  expect(await by('--actor', 'auditor', '--target', 'dead-letter/17', '--outcome', 'done')).toHaveLength(2)
  expect(await by('--actor', 'auditor', '--target', 'dead-letter/18')).toEqual([])
  expect(await by('--actor', 'auditor', '--since', '1h')).toHaveLength(2)
  expect(await by('--actor', 'auditor', '--before', '1h')).toEqual([])
  const first = await json('audit', '--actor', 'auditor', '--limit', '1')
  expect(await by('--actor', 'auditor', '--after', String(first['next']))).toMatchObject([{ verb: 'dead-letter.assign' }])
  expect((await output('audit', '--outcome', 'maybe')).exitCode).toBe(2)
  expect((await output('audit', '--limit', '0')).exitCode).toBe(2)
  expect((await output('audit', '--actor', 'nobody')).stdout).toContain('Nothing like that')
})

test.each([
  [['--rate', '0']],
  [['--canary', '5,1,100']],
  [['--canary', '1,5', '--no-canary']],
  [['--max-failures', '2']],
  [['--since', 'yesterday']],
  [['--header', 'x']],
  [['--max-redrives', '-1']],
])('dlq redrive refuses %j as a wrong call', async (flags) => {
  const owned = await partition()
  await owned.bury('a', 'skip')
  const { exitCode, stderr } = await output('dlq', 'redrive', '--yes', '--no-canary', ...flags)
  expect([exitCode, stderr]).toEqual([2, expect.stringContaining(flags[0]!)])
  expect((await letters.count({})).count).toBe(1)
})
