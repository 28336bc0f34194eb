import { readFileSync } from 'node:fs'
import type { Broker } from '../message/port.ts'
import type { KafkaBrokerOptions } from '../drivers/kafka/index.ts'
import { PostgresBroker } from '../drivers/postgres/postgres-broker.ts'
import { type CommandContext, type FlagSpec, UsageError } from './command.ts'

/** Flags of commands that look at what is on the wire. */
export const brokerFlags: Readonly<Record<string, FlagSpec>> = {
  broker: { type: 'string', value: 'URL', help: 'Where the relay sends to: postgres://… or kafka://HOST:PORT,… (default: BROKER_URL)' },
  'broker-schema': { type: 'string', value: 'NAME', help: 'Schema of its tables in Postgres (default: tidemark)' },
  'kafka-options': { type: 'string', value: 'FILE', help: 'Or options of the Kafka driver as JSON, with tls and sasl as in kafka({ … })' },
}

/** The broker that the flags name. The caller closes it. */
export async function relayBroker({ flags, io }: CommandContext): Promise<Broker> {
  const file = flags['kafka-options']
  if (typeof file === 'string') {
    if (flags.broker !== undefined) throw new UsageError('--broker and --kafka-options name two brokers: pass one of them.')
    return kafkaBroker(optionsIn(file))
  }
  const url = flags.broker ?? io.env.BROKER_URL
  if (typeof url !== 'string' || url === '')
    throw new UsageError('No broker: pass --broker URL or --kafka-options FILE, or set BROKER_URL.')
  if (url.startsWith(kafkaScheme)) return kafkaBroker({ brokers: addressesIn(url) })
  requirePostgres(url)
  const schema = flags['broker-schema']
  return new PostgresBroker({ connectionString: url, ...(typeof schema === 'string' ? { schema } : {}) })
}

/** Checks what names the log, and says where it is, without opening it. `null`: nothing names one. */
export function namedLog({ flags, io }: CommandContext): { readonly kafka: true } | { readonly connectionString: string } | null {
  const file = flags['kafka-options']
  if (typeof file === 'string') {
    if (flags.broker !== undefined) throw new UsageError('--broker and --kafka-options name two brokers: pass one of them.')
    optionsIn(file)
    return { kafka: true }
  }
  const url = flags.broker ?? io.env.BROKER_URL
  if (typeof url !== 'string' || url === '') return null
  if (!url.startsWith(kafkaScheme)) {
    requirePostgres(url)
    return { connectionString: url }
  }
  addressesIn(url)
  return { kafka: true }
}

const kafkaScheme = 'kafka://'

/** What came is not shown: it may hold a password. */
function requirePostgres(url: string): void {
  if (!/^postgres(ql)?:\/\//.test(url))
    throw new UsageError('--broker (or BROKER_URL) takes postgres://… or kafka://HOST:PORT,…; got something else.')
}

function addressesIn(url: string): string[] {
  const addresses = url.slice(kafkaScheme.length).replace(/\/$/, '')
  if (addresses.includes('@')) throw new UsageError('A kafka:// URL takes no user and password: pass --kafka-options FILE, with sasl.')
  const list = addresses.split(',')
  if (list.every((address) => /^(\[[^\]]+\]|[^:/\s]+)(:\d{1,5})?$/.test(address))) return list
  throw new UsageError('A kafka:// URL takes HOST:PORT, with commas between: kafka://kafka-1:9092,kafka-2:9092.')
}

/** Loaded when it is asked for: the client is an optional peer. */
async function kafkaBroker(options: KafkaBrokerOptions): Promise<Broker> {
  const { kafka } = await import('../drivers/kafka/index.ts')
  return kafka(options)
}

/** A password stands in the file and not on the command line, where every user of the machine can read it; nor in an error. */
function optionsIn(file: string): KafkaBrokerOptions {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    throw new UsageError(`--kafka-options: ${file} cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown'}).`)
  }
  try {
    return JSON.parse(text) as KafkaBrokerOptions
  } catch {
    throw new UsageError(`--kafka-options: ${file} is not JSON; expected for example { "brokers": ["kafka-1:9092"] }.`)
  }
}
