import { requireConnectionString } from '../../drivers/postgres/connection-string.ts'
import { type Command, type CommandContext, UsageError } from '../command.ts'
import { schemaOf } from '../connect.ts'
import { type DebeziumSettings, debeziumConnector, debeziumSql } from '../debezium-connector.ts'
import { databaseFlags } from '../flags.ts'

const passwordInEnvironment = '${env:DATABASE_PASSWORD}'

/** Of names that stand in SQL, in Kafka and in file names alike. */
const simpleName = /^[a-z_][a-z0-9_]{0,62}$/

export const cdcDebeziumConfigCommand: Command = {
  name: 'cdc debezium-config',
  summary: 'Print a Debezium connector that relays the outbox as the relay does, or the SQL it needs; connect to nothing',
  example: 'tidemark cdc debezium-config --url postgres://db.internal/shop > connector.json',
  flags: {
    ...databaseFlags,
    url: { type: 'string', value: 'URL', help: 'Where host, port and database are taken from (default: DATABASE_URL, else references)' },
    name: { type: 'string', value: 'NAME', help: "The connector's name (default: DATABASE-outbox)" },
    'topic-prefix': { type: 'string', value: 'NAME', help: "Of the connector's own topics, not of the messages' (default: DATABASE)" },
    slot: { type: 'string', value: 'NAME', help: 'Replication slot, unique in the server (default: tidemark_DATABASE)' },
    publication: { type: 'string', value: 'NAME', help: 'Publication of the outbox (default: tidemark_outbox)' },
    user: { type: 'string', value: 'NAME', help: 'Role of the connector (default: debezium)' },
    'password-reference': {
      type: 'string',
      value: 'REF',
      help: `Where Connect finds the password, never the password itself (default: ${passwordInEnvironment})`,
    },
    snapshot: {
      type: 'string',
      value: 'MODE',
      help: 'initial: send what is in the table at first, too (default); no_data: only what comes',
    },
    partitions: { type: 'string', value: 'N', help: 'Of topics that do not exist yet, as of those that services make (default: 8)' },
    sql: { type: 'boolean', help: 'Print the SQL to be run before the connector starts' },
  },
  async run(context) {
    const settings = settingsOf(context)
    const connector = debeziumConnector(settings)
    const sql = debeziumSql(settings)
    if (context.flags.sql === true) return { json: { connector, sql }, text: sql }
    for (const line of notes(settings)) context.note(line)
    return { json: { connector, sql }, text: JSON.stringify(connector, null, 2) }
  },
}

function settingsOf(context: CommandContext): DebeziumSettings {
  const database = databaseOf(context)
  const word = database?.database.toLowerCase().replaceAll(/[^a-z0-9]+/g, '_') ?? null
  const given = (flag: string, otherwise: string): string => textOf(context, flag) ?? otherwise
  return {
    database,
    schema: schemaOf(context),
    name: given('name', `${database?.database ?? 'tidemark'}-outbox`),
    topicPrefix: topicName(given('topic-prefix', word ?? 'tidemark')),
    slot: sqlName('slot', given('slot', word === null ? 'tidemark_outbox' : `tidemark_${word}`.slice(0, 63))),
    publication: sqlName('publication', given('publication', 'tidemark_outbox')),
    user: given('user', 'debezium'),
    password: reference(given('password-reference', passwordInEnvironment)),
    snapshot: snapshotOf(given('snapshot', 'initial')),
    partitions: partitionsOf(given('partitions', '8')),
  }
}

function databaseOf({ flags, io }: CommandContext): DebeziumSettings['database'] {
  const text = flags.url ?? io.env.DATABASE_URL
  if (typeof text !== 'string' || text === '') return null
  requireConnectionString(text)
  const url = new URL(text.replace('@/', '@localhost/'))
  const host = url.searchParams.get('host') ?? url.hostname
  const database = decoded(url.pathname.slice(1))
  if (host === '' || host.startsWith('/')) throw new UsageError('Debezium reaches Postgres by TCP only: pass --url with a host.')
  if (database === '') throw new UsageError('The URL names no database: pass --url postgres://host:5432/database.')
  return { host: host.replace(/^\[(.*)\]$/, '$1'), port: url.port === '' ? '5432' : url.port, database }
}

/** A lone percent sign stands for itself. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

function textOf({ flags }: CommandContext, name: string): string | null {
  const value = flags[name]
  if (value === '') throw new UsageError(`--${name} takes a text that is not empty.`)
  return typeof value === 'string' ? value : null
}

function sqlName(flag: string, name: string): string {
  if (simpleName.test(name)) return name
  throw new UsageError(
    `--${flag} takes lower-case letters, digits and _, at most 63, not beginning with a digit; got ${JSON.stringify(name)}.`,
  )
}

function topicName(name: string): string {
  if (/^[a-zA-Z0-9._-]{1,200}$/.test(name)) return name
  throw new UsageError(`--topic-prefix takes letters, digits, ".", "_" and "-"; got ${JSON.stringify(name)}.`)
}

/** What came is not repeated: it is most likely the password. */
function reference(text: string): string {
  if (/^\$\{[^{}:]+:[^{}]+\}$/.test(text)) return text
  throw new UsageError(
    '--password-reference takes a reference that Connect resolves, such as ${file:/run/secrets/database.properties:password}.',
  )
}

function snapshotOf(mode: string): 'initial' | 'no_data' {
  if (mode === 'initial' || mode === 'no_data') return mode
  throw new UsageError(`--snapshot takes initial or no_data; got ${JSON.stringify(mode)}.`)
}

function partitionsOf(text: string): number {
  if (/^[1-9]\d{0,3}$/.test(text)) return Number(text)
  throw new UsageError(`--partitions takes a whole number from 1 to 9,999; got ${JSON.stringify(text)}.`)
}

function notes({ database, password, snapshot }: DebeziumSettings): readonly string[] {
  const provider = /^\$\{([^:]+):/.exec(password)![1]!
  const providers = database === null ? [...new Set(['env', provider])] : [provider]
  return [
    'First run what --sql prints, with the same flags, in the database.',
    `The Connect worker resolves the references: config.providers=${providers.join()}, and config.providers.${providers[0]}.class=…`,
    'End the relays of the service first ({ relay: false }): two relays send everything twice.',
    ...(snapshot === 'initial' ? ['What is in the table is sent, too. If a relay has sent it already, pass --snapshot no_data.'] : []),
  ]
}
