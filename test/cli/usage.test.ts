import { expect, test } from 'vitest'
import { main } from '../../src/cli/main.ts'
import { PostgresDatabase, migrate } from '../../src/drivers/postgres/index.ts'
import { testDatabase } from '../support/postgres.ts'

const { connectionString } = await testDatabase('cli_usage')
const url = connectionString()
const database = new PostgresDatabase({ connectionString: url, maxConnections: 2 })
await migrate(database, { set: 'service' })
await database.close()

async function run(...argv: string[]) {
  let stdout = ''
  let stderr = ''
  const io = { stdout: { write: (text: string) => (stdout += text) }, stderr: { write: (text: string) => (stderr += text) } }
  const exitCode = await main(argv, { ...io, env: { DATABASE_URL: url }, user: 'tester' })
  return { exitCode, stdout, stderr }
}

test.each([
  ['--rate 0', '--rate takes a number above 0'],
  ['--rate abc', '--rate takes a number above 0'],
  ['--canary 5,1', '--canary takes percentages that rise up to 100'],
  ['--canary 10 --no-canary', 'Pass either --canary or --no-canary'],
  ['--max-failures 2', '--max-failures takes a share from 0 to 1'],
  ['--yes --dry-run', '--yes does it and --dry-run does not'],
  ['--max-redrives x', '--max-redrives takes a whole number'],
])('dlq redrive %s is a wrong call, though no letter matches', async (flags, message) => {
  const { exitCode, stdout, stderr } = await run('dlq', 'redrive', ...flags.split(' '))
  expect([exitCode, stdout]).toEqual([2, ''])
  expect(stderr).toContain(`tidemark: USAGE: ${message}`)
})

test.each([
  ['dlq list --error-class E', 'dlq list has no option --error-class. Did you mean --class? See: tidemark dlq list --help'],
  ['dlq list --groups g', 'dlq list has no option --groups. Did you mean --group? See: tidemark dlq list --help'],
  ['dlq list --frobnicate', 'dlq list has no option --frobnicate. See: tidemark dlq list --help'],
  ['dlq list -x', 'dlq list has no option -x. See: tidemark dlq list --help'],
  ['dlq list --limit -1', '--limit takes a value: --limit=N. One that begins with "-" goes behind the "=".'],
  ['dlq list --limit=-1', '--limit: expected a whole number from 1'],
  ['dlq list --limit', '--limit takes a value: --limit=N.'],
  ['dlq redrive --yes=1', '--yes takes no value. See: tidemark dlq redrive --help'],
  ['dlq --vresion', 'dlq has no option --vresion. Did you mean --version? See: tidemark dlq --help'],
  ['dlq list --since 2h --before 5h', '--since takes the earlier time'],
])('tidemark %s says what was typed wrong, in our words', async (line, message) => {
  const { exitCode, stderr } = await run(...line.split(' '))
  expect([exitCode, stderr]).toEqual([2, expect.stringContaining(`tidemark: USAGE: `)])
  expect(stderr).toContain(message)
})

test.each([
  ['--broker ftp://me:secret@host/x', '--broker (or BROKER_URL) takes postgres://… or kafka://HOST:PORT,…'],
  ['--kafka-options /nope', '--kafka-options: /nope cannot be read (ENOENT)'],
  ['--broker kafka://', 'A kafka:// URL takes HOST:PORT'],
  [`--broker ${url}`, 'the database has no log of Tidemark in the schema "tidemark"'],
])('erase %s is a wrong call that is told before anything is done', async (flags, message) => {
  const { exitCode, stderr } = await run('erase', '--key', 'customer/c-1', '--yes', ...flags.split(' '))
  expect([exitCode, stderr]).toEqual([2, expect.stringContaining(message)])
  expect(stderr).not.toContain('secret')
  expect(stderr).not.toContain('tidemark migrate')
})

test('erase tells of the texts that stay beside the messages, and that Kafka was not asked', async () => {
  const { exitCode, stdout } = await run('erase', '--key', 'customer/c-1', '--dry-run', '--broker', 'kafka://127.0.0.1:1')
  expect(exitCode).toBe(0)
  expect(stdout).toContain('reasons in the audit log')
  expect(stdout).toContain('names of steps')
  expect(stdout).toContain('Kafka was not asked')
})
