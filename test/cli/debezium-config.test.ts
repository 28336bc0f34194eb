import { describe, expect, test } from 'vitest'
import { main } from '../../src/cli/main.ts'

async function run(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const said = { stdout: '', stderr: '' }
  const into = (name: keyof typeof said) => ({ write: (text: string) => void (said[name] += text) })
  const exitCode = await main(['cdc', 'debezium-config', ...args], { stdout: into('stdout'), stderr: into('stderr'), env, user: 'tester' })
  return { exitCode, ...said }
}

interface Printed {
  readonly name: string
  readonly config: Readonly<Record<string, string>>
}

const printed = async (...args: readonly string[]): Promise<Printed> => JSON.parse((await run(args)).stdout) as Printed

const url = 'postgres://shop:s3cret-word@db.internal:6432/web-shop?sslmode=require'

describe('tidemark cdc debezium-config', () => {
  test('prints a connector as Connect takes it, made of texts only', async () => {
    const { exitCode, stdout, stderr } = await run(['--url', url])
    expect(exitCode).toBe(0)
    const { name, config } = JSON.parse(stdout) as Printed
    expect(name).toBe('web-shop-outbox')
    expect(config).toMatchObject({
      'database.hostname': 'db.internal',
      'database.port': '6432',
      'database.dbname': 'web-shop',
      'database.user': 'debezium',
      'topic.prefix': 'web_shop',
      'slot.name': 'tidemark_web_shop',
      'publication.name': 'tidemark_outbox',
      'table.include.list': 'tidemark.outbox',
    })
    expect(Object.values(config).every((value) => typeof value === 'string')).toBe(true)
    expect(stderr).toContain('First run what --sql prints')
    expect((await run(['--url', url, '--quiet'])).stderr).toBe('')
  })

  test('takes where the database is from DATABASE_URL, and refers to the environment of the worker where it is not told', async () => {
    expect(JSON.parse((await run([], { DATABASE_URL: url })).stdout)).toMatchObject({ config: { 'database.port': '6432' } })
    expect((await printed()).config).toMatchObject({
      'database.hostname': '${env:DATABASE_HOST}',
      'database.port': '${env:DATABASE_PORT}',
      'database.dbname': '${env:DATABASE_NAME}',
      'slot.name': 'tidemark_outbox',
    })
    expect((await printed('--url', 'postgresql://[::1]/shop')).config).toMatchObject({
      'database.hostname': '::1',
      'database.port': '5432',
    })
  })

  test('never prints the password, and does not take one for a reference', async () => {
    const all = await Promise.all([run(['--url', url]), run(['--url', url, '--json']), run(['--url', url, '--sql'])])
    for (const { stdout, stderr } of all) expect(stdout + stderr).not.toContain('s3cret')
    expect((await printed('--url', url)).config['database.password']).toBe('${env:DATABASE_PASSWORD}')
    const reference = '${file:/run/secrets/db.properties:password}'
    expect((await printed('--password-reference', reference)).config['database.password']).toBe(reference)
    const refused = await run(['--password-reference', 's3cret-word'])
    expect([refused.exitCode, refused.stdout]).toEqual([2, ''])
    expect(refused.stderr).not.toContain('s3cret')
  })

  test('names everything as it is told', async () => {
    const args =
      '--name relay --topic-prefix Shop.1 --slot s1 --publication p1 --user cdc --schema events --snapshot no_data --partitions 12'.split(
        ' ',
      )
    const { name, config } = await printed(...args)
    expect(name).toBe('relay')
    expect(config).toMatchObject({
      'topic.prefix': 'Shop.1',
      'slot.name': 's1',
      'publication.name': 'p1',
      'database.user': 'cdc',
      'table.include.list': 'events.outbox',
      'snapshot.mode': 'no_data',
      'topic.creation.default.partitions': '12',
    })
    expect((await run([...args, '--sql'])).stdout).toContain(
      `create publication "p1" for table "events".outbox with (publish = 'insert', publish_via_partition_root = true);\ngrant usage on schema "events" to "cdc";`,
    )
  })

  test('prints connector and SQL in one document with --json', async () => {
    const document = JSON.parse((await run(['--json'])).stdout) as Record<string, unknown>
    expect(document).toMatchObject({
      schemaVersion: 1,
      connector: { name: 'tidemark-outbox' },
      sql: expect.stringContaining('create publication'),
    })
  })

  test.each([
    [['--slot', 'Shop-1'], '--slot takes lower-case letters'],
    [['--publication', 'a"b'], '--publication takes'],
    [['--topic-prefix', 'a b'], '--topic-prefix takes'],
    [['--snapshot', 'never'], '--snapshot takes initial or no_data'],
    [['--schema', 'Events'], 'schema name'],
    [['--partitions', '0'], '--partitions takes a whole number from 1'],
    [['--name', ''], '--name takes a text'],
    [['--url', 'postgres://h'], 'names no database'],
    [['--url', 'postgres://x@/shop?host=/tmp'], 'by TCP only'],
    [['--url', 'host=h password=s3cret'], 'expected a URL'],
    [['now'], 'takes no arguments'],
  ])('refuses %j with exit code 2', async (args, message) => {
    const { exitCode, stdout, stderr } = await run(args)
    expect([exitCode, stdout]).toEqual([2, ''])
    expect(stderr).toContain(message)
    expect(stderr).not.toContain('s3cret')
  })
})
