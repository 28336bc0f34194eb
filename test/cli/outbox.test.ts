import { fileURLToPath } from 'node:url'
import { beforeEach, describe, expect, test } from 'vitest'
import { commands, main } from '../../src/cli/main.ts'
import { migrations } from '../../src/drivers/postgres/migrations/compiled.ts'
import { migrate } from '../../src/drivers/postgres/migrations/migrate.ts'
import { runRelay } from '../../src/outbox/index.ts'
import { message, outboxDatabase } from '../outbox/support/outbox-database.ts'
import { until } from '../support/until.ts'
import { WireRecorder } from '../outbox/support/wire-recorder.ts'

const { url, database, store, publish, operations, reset } = await outboxDatabase('cli')
await WireRecorder.create(database)
await migrate(database, { set: 'log' })

beforeEach(async () => {
  await reset()
  await database.query('truncate wire, wire_owner')
})

async function run(...argv: string[]) {
  return runWith({ DATABASE_URL: url, BROKER_URL: url }, argv)
}

async function runWith(env: Record<string, string>, argv: readonly string[]) {
  let stdout = ''
  let stderr = ''
  const io = {
    stdout: { write: (text: string) => (stdout += text) },
    stderr: { write: (text: string) => (stderr += text) },
    env,
    user: 'tester',
  }
  const exitCode = await main(argv, io)
  return { exitCode, stdout, stderr }
}

function json(text: string): Record<string, unknown> {
  return JSON.parse(text) as Record<string, unknown>
}

/** Parks the key order/a with two messages held. */
async function park(): Promise<void> {
  const relay = runRelay({ store, broker: new WireRecorder(database, { fences: true, maxRecordBytes: 2_000 }), idleMs: 5, maintain: false })
  await publish(
    message('a', 1, { payload: Buffer.from(JSON.stringify({ version: 1, pad: 'x'.repeat(5_000) })) }),
    message('a', 2),
    message('b', 1),
  )
  await until('the key is held', async () => (await operations.parked())[0]?.held === 2)
  await relay.stop()
}

describe('every command', () => {
  test.each(commands.map(({ name }) => name))('%s has a help with its example, as text and as JSON', async (name) => {
    const { exitCode, stdout, stderr } = await run(...name.split(' '), '--help')
    expect([exitCode, stderr]).toEqual([0, ''])
    expect(stdout).toContain(`tidemark ${name}`)
    expect(json((await run(...name.split(' '), '--help', '--json')).stdout)).toMatchObject({ schemaVersion: 1 })
  })

  test.each(commands.map(({ name }) => name))('%s refuses an unknown flag with exit code 2, and says which', async (name) => {
    const { exitCode, stdout, stderr } = await run(...name.split(' '), '--frobnicate')
    expect([exitCode, stdout]).toEqual([2, ''])
    expect(stderr).toContain('--frobnicate')
    const document = json((await run(...name.split(' '), '--frobnicate', '--json')).stdout)
    expect(document).toMatchObject({ error: { code: 'USAGE' } })
  })

  test.each(commands.map(({ name }) => name))(
    '%s prints exactly one JSON document with --json, and nothing else on stdout',
    async (name) => {
      const { stdout } = await run(...name.split(' '), ...(name === 'outbox discard' ? ['order/a'] : []), '--json')
      expect(json(stdout)).toMatchObject({ schemaVersion: 1 })
    },
  )
})

test('an unknown command, or none, is a wrong call', async () => {
  expect((await run('frobnicate')).exitCode).toBe(2)
  expect((await run('outbox', 'frobnicate')).stderr).toContain('outbox frobnicate')
  expect((await run()).exitCode).toBe(2)
  expect((await run('--help')).stdout).toContain('migrate')
  expect((await run('--version')).stdout).toMatch(/^\d+\.\d+\.\d+/)
})

test('a group without a command lists its commands: a wrong call, and help when that was asked for', async () => {
  const inGroup = commands.filter(({ name }) => name.startsWith('outbox ')).map(({ name }) => name)
  const bare = await run('outbox')
  expect([bare.exitCode, bare.stdout]).toEqual([2, ''])
  expect(json((await run('outbox', '--json')).stdout)).toMatchObject({ error: { code: 'USAGE' } })
  for (const asked of [
    ['help', 'outbox'],
    ['outbox', '--help'],
    ['outbox', '-h'],
  ]) {
    const { exitCode, stdout, stderr } = await run(...asked)
    expect([exitCode, stderr], asked.join(' ')).toEqual([0, ''])
    for (const name of inGroup) expect(stdout).toContain(name)
    expect(stdout).not.toContain('migrate')
  }
  for (const name of inGroup) expect(bare.stderr).toContain(name)
  expect((await run('help')).stdout).toContain('migrate')
  expect((await run('help', 'outbox', 'status')).stdout).toContain('tidemark outbox status --json')
})

test.each([
  [['outbox', 'statsu'], 'outbox status'],
  [['outbox', 'rebas', '--yes'], 'outbox rebase'],
  [['outbx', 'status'], 'outbox status'],
  [['migrat', '--url', 'postgres://localhost/x'], 'migrate'],
  [['outbx'], 'outbox'],
  [['help', 'migrat'], 'migrate'],
])('a slip is told with what was probably meant: %j', async (typed, meant) => {
  const { exitCode, stdout, stderr } = await run(...typed)
  expect([exitCode, stdout]).toEqual([2, ''])
  expect(stderr).toContain(`Did you mean: tidemark ${meant}?`)
})

test('a missing database setting is a wrong call, an unreachable one exit code 7, a wrong password 5', async () => {
  const missing = await runWith({}, ['outbox', 'status'])
  expect([missing.exitCode, missing.stderr]).toEqual([2, expect.stringContaining('--url')])
  const unreachable = await run('outbox', 'status', '--url', 'postgres://me:secret@127.0.0.1:1/x')
  expect(unreachable.exitCode).toBe(7)
  expect(unreachable.stderr).not.toContain('secret')
  const wrong = new URL(url)
  wrong.password = 'wrong'
  expect((await run('outbox', 'status', '--url', wrong.href)).exitCode).toBe(5)
})

test('a database without the tables is exit code 6 and names the command that makes them', async () => {
  const { exitCode, stderr } = await run('outbox', 'status', '--schema', 'elsewhere')
  expect(exitCode).toBe(6)
  expect(stderr).toContain('tidemark migrate')
})

test('migrate applies, then finds nothing to do', async () => {
  const first = await run('migrate', '--schema', 'by_cli', '--set', 'all', '--json')
  expect(json(first.stdout)).toMatchObject({
    schema: 'by_cli',
    sets: (['service', 'log'] as const).map((set) => ({ set, applied: migrations[set].map(({ version }) => version) })),
  })
  expect((await run('migrate', '--schema', 'by_cli')).stdout).toContain('nothing to do')
  expect((await run('migrate', '--set', 'other')).exitCode).toBe(2)
})

test('migrate --sql prints a script and the rights of each role, without a database', async () => {
  const { exitCode, stdout } = await runWith({}, ['migrate', '--sql', '--schema', 'mine'])
  expect(exitCode).toBe(0)
  expect(stdout).toContain('create table "mine".outbox (')
  expect(stdout).toMatch(/-- grant insert \(.*\) on "mine"\.outbox to publisher;/)
})

test('outbox status tells what waits and what is parked', async () => {
  await park()
  await publish(message('c', 1))
  const { stdout } = await run('outbox', 'status', '--json')
  expect(json(stdout)).toMatchObject({ streams: [{ stream: 0, owner: null, unpublished: 1, parkedKeys: 1, heldMessages: 2, moved: null }] })
  expect((await run('outbox', 'status')).stdout).toMatch(/no relay\s+\d+\s+1\s/)
})

function noted(verb: string): Promise<Record<string, unknown>[]> {
  return database.query('select actor, target_id, reason, outcome from tidemark.audit_log where verb = $1 order by id', [verb])
}

test('outbox parked lists keys; release asks for them back', async () => {
  await park()
  expect((await run('outbox', 'parked')).stdout).toMatch(/order\/a\s+2\s/)
  expect(json((await run('outbox', 'release', 'order/a', '--dry-run', '--json')).stdout)).toMatchObject({ dryRun: true })
  const { exitCode, stdout } = await run('outbox', 'release', 'order/a', 'order/none', '--json')
  expect(exitCode).toBe(8)
  expect(json(stdout)).toMatchObject({ released: [{ aggregateId: 'a' }], notParked: [{ aggregateId: 'none' }] })
  expect((await operations.parked())[0]!.releasing).toBe(true)
  expect((await run('outbox', 'release', 'order/a')).exitCode).toBe(4)
  expect(await noted('outbox.release')).toEqual([{ actor: 'tester', target_id: 'order/a', reason: null, outcome: 'done' }])
  expect((await run('outbox', 'release')).exitCode).toBe(2)
  expect((await run('outbox', 'release', 'nonsense')).exitCode).toBe(2)
})

test('outbox release --all asks for --yes', async () => {
  await park()
  const { exitCode, stderr } = await run('outbox', 'release', '--all')
  expect([exitCode, stderr]).toEqual([2, expect.stringContaining('--yes')])
  expect((await run('outbox', 'release', '--all', '--yes')).exitCode).toBe(0)
})

test('outbox discard asks for --yes, and keeps who did it and why', async () => {
  await park()
  expect((await run('outbox', 'discard', 'order/a')).exitCode).toBe(2)
  expect((await operations.parked())[0]!.held).toBe(2)
  expect((await run('outbox', 'discard', 'order/none', '--yes')).exitCode).toBe(4)
  expect((await run('outbox', 'discard', 'order/a', '--yes', '--reason', 'by hand')).exitCode).toBe(0)
  expect(await database.query('select actor, reason from tidemark.relay_discarded')).toEqual([{ actor: 'tester', reason: 'by hand' }])
  expect(await noted('outbox.discard')).toEqual([{ actor: 'tester', target_id: 'order/a', reason: 'by hand', outcome: 'done' }])
})

test('outbox discard and its line in the audit log are one: without the line nothing is discarded', async () => {
  await park()
  await database.query(`create function tidemark.refuse() returns trigger language plpgsql as $$ begin raise exception 'no line'; end $$`)
  await database.query(`create trigger refuse before insert on tidemark.audit_log for each row execute function tidemark.refuse()`)
  expect((await run('outbox', 'discard', 'order/a', '--yes')).exitCode).toBe(1)
  expect((await run('outbox', 'release', 'order/a')).exitCode).toBe(1)
  await database.query('drop function tidemark.refuse() cascade')
  expect(await operations.parked()).toMatchObject([{ held: 2, releasing: false }])
})

test.each([
  [['--kafka-options', '/nowhere/kafka.json'], 2, 'cannot be read (ENOENT)'],
  [['--kafka-options', fileURLToPath(import.meta.url)], 2, 'is not JSON'],
  [['--broker', 'kafka://'], 2, 'takes HOST:PORT'],
  [['--broker', 'kafka://alice:swordfish@kafka-1:9092'], 2, '--kafka-options FILE, with sasl'],
  [['--broker', 'kafka://kafka-1:9092', '--kafka-options', 'kafka.json'], 2, 'pass one of them'],
])('outbox rebase says what is wrong with its broker: %j', async (flags, code, words) => {
  const { exitCode, stderr } = await runWith({ DATABASE_URL: url }, ['outbox', 'rebase', '--dry-run', ...flags])
  expect(stderr).toContain(words)
  expect(stderr).not.toContain('swordfish')
  expect(exitCode).toBe(code)
})

test('outbox rebase begins a new life, after --yes', async () => {
  await park()
  expect((await run('outbox', 'rebase')).exitCode).toBe(2)
  expect((await runWith({ DATABASE_URL: url }, ['outbox', 'rebase', '--yes'])).stderr).toContain('--broker')
  const [before] = await database.query<{ life: number }>('select life from tidemark.source')
  expect(json((await run('outbox', 'rebase', '--dry-run', '--json')).stdout)).toMatchObject({ dryRun: true, onTheWire: 0 })
  expect((await run('outbox', 'rebase', '--yes', '--actor', 'ada', '--roles', 'operator, admin')).exitCode).toBe(0)
  expect(await noted('outbox.rebase')).toMatchObject([
    { actor: 'ada', outcome: 'asked' },
    { actor: 'ada', outcome: 'done' },
  ])
  expect(await database.query(`select distinct roles from tidemark.audit_log where actor = 'ada'`)).toEqual([
    { roles: ['operator', 'admin'] },
  ])
  expect(await database.query('select life from tidemark.source')).toEqual([{ life: before!.life + 1 }])
})
