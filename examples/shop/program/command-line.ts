import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { parseDollars } from '../input/dollars.ts'
import { exitCodes, ShopError } from './shop-error.ts'

/** What was asked for. */
export interface Settings {
  readonly once: boolean
  readonly json: boolean
  readonly fresh: boolean
  readonly input: string
  /** Place only the first orders of the input. */
  readonly limit: number | null
  /** Orders a second, when not `once`. */
  readonly rate: number
  readonly declineAboveCents: number
  readonly maxUnits: number
  /** What holds the events on their way. */
  readonly broker: (typeof brokers)[number]
  /** A Postgres server of one's own; `null` for the embedded one. */
  readonly database: URL | null
}

const brokers = ['postgres', 'kafka'] as const

export const help = `The shop: five services that turn orders into events, on a real Postgres that comes along.

Examples
  npm start                                      orders arrive at 50 a second; Ctrl-C stops
  npm start -- --once --json                     place everything, wait until all is settled, print totals
  npm start -- --once --input FILE --fresh       the same with orders of yours, from an empty shop
  npm start -- --broker kafka                    the same shop with a real Kafka between its services

Options
  --once               place all orders as fast as possible, wait until everything is settled, print the totals, stop
  --json               with --once: print one JSON document on stdout (money in integer cents)
  --fresh              drop what earlier runs in this folder left behind, then start
  --input FILE         lines of "customer [other number] YYYYMMDD CDs dollars"  [the CDNOW sample, 6,919 orders]
  --limit N            only the first N orders of the file  [all]
  --rate N             without --once: orders a second  [50]
  --decline-above X    payments declines an order above X dollars  [150.00]
  --max-units N        inventory is out of stock for an order of more than N CDs  [10]
  --broker NAME        where the events travel: postgres (a log in a database of the shop) or kafka  [postgres]
                       kafka is the cluster of KAFKA_BROKERS (host:port,host:port) if that is set; an address that does not
                       answer is given up after 5 s. Else a broker in .tidemark/ of this folder, started for you: it needs
                       Java 17, and Maven once, to bring Kafka
  --database URL       your own Postgres, for example postgresql://me@localhost/postgres; databases shop_… are
                       made there  [a server in .tidemark/ of this folder, started for you]
  -h, --help           this text

A shop on Kafka and one on Postgres are two shops, with databases of their own (shop_kafka_… and shop_…).
Both thresholds are kept with the first run in a folder; others need --fresh.
Running again doubles nothing, and goes on where an interrupted run ended.
ordersPerSecond counts the orders that were new in this run, duplicatesSuppressed the duplicates of this run.

Exit codes
  0 done, or stopped by Ctrl-C or SIGTERM without --once · 1 failed · 2 wrong option, malformed input, or Java missing · 4 no such file
  6 conflict: other thresholds, the shop is in use, or its topics are another shop's · 7 database or broker unreachable
  130 interrupted with --once (143 by SIGTERM)
`

const flags = {
  once: { type: 'boolean', default: false },
  json: { type: 'boolean', default: false },
  fresh: { type: 'boolean', default: false },
  input: { type: 'string' },
  limit: { type: 'string' },
  rate: { type: 'string' },
  'decline-above': { type: 'string', default: '150.00' },
  'max-units': { type: 'string', default: '10' },
  broker: { type: 'string', default: 'postgres' },
  database: { type: 'string' },
  help: { type: 'boolean', short: 'h', default: false },
} as const

/** Reads the arguments. `'help'` when that was asked for. Throws `ShopError` with exit code 2. */
export function parseCommandLine(args: readonly string[]): Settings | 'help' {
  const values = parseFlags(args)
  if (values.help) return 'help'
  if (values.json && !values.once) throw usage('--json goes with --once.', 'Add --once, or leave --json out to see the live table.')
  if (values.once && values.rate !== undefined) throw usage('--once places as fast as it can.', 'Leave --rate out, or leave --once out.')
  return {
    once: values.once,
    json: values.json,
    fresh: values.fresh,
    input: values.input ?? fileURLToPath(new URL('../data/cdnow-sample.txt', import.meta.url)),
    limit: values.limit === undefined ? null : wholeNumber('--limit', values.limit),
    rate: values.rate === undefined ? 50 : rate(values.rate),
    declineAboveCents: dollars('--decline-above', values['decline-above']),
    maxUnits: wholeNumber('--max-units', values['max-units']),
    broker: broker(values.broker),
    database: values.database === undefined ? null : serverUrl(values.database),
  }
}

function parseFlags(args: readonly string[]) {
  try {
    return parseArgs({ args: withValues(args), options: flags, allowPositionals: false, strict: true }).values
  } catch (error) {
    const { message } = error as Error
    const unknown = /^Unknown option '(--[^']*)'/.exec(message)?.[1]
    if (unknown === undefined) throw usage(message.split('\n')[0]!, 'npm start -- --help lists the options.')
    const close = Object.keys(flags).find((name) => resembles(name, unknown.slice(2)))
    const hint = close === undefined ? '' : `Did you mean --${close}? `
    throw usage(`There is no option ${unknown}.`, `${hint}npm start -- --help lists the options.`)
  }
}

/** Writes a flag and its value as one, so that a value may begin with "-" and be refused for what it is: `--max-units -1`. */
function withValues(args: readonly string[]): string[] {
  const [word, value, ...rest] = args
  if (word === undefined) return []
  const name = word.slice(2)
  if (!word.startsWith('--') || !(name in flags) || flags[name as keyof typeof flags].type !== 'string') {
    return [word, ...withValues(args.slice(1))]
  }
  if (value === undefined) throw usage(`${word} takes a value, and none came.`, 'npm start -- --help lists the options.')
  if (isFlag(value)) throw usage(`${word} takes a value, and ${value} came.`, 'npm start -- --help lists the options.')
  return [`${word}=${value}`, ...withValues(rest)]
}

function isFlag(word: string): boolean {
  return word === '-h' || (word.startsWith('--') && word.slice(2).split('=')[0]! in flags)
}

/** The beginning of the name, or the name with at most two slips. */
function resembles(name: string, typed: string): boolean {
  return (typed.length >= 3 && name.startsWith(typed)) || isNear(name, typed, 2)
}

/** Are these the same but for so many slips: a letter more, less or other? */
function isNear(a: string, b: string, slips: number): boolean {
  if (slips < 0) return false
  if (a === '' || b === '') return a.length + b.length <= slips
  if (a[0] === b[0]) return isNear(a.slice(1), b.slice(1), slips)
  return isNear(a.slice(1), b, slips - 1) || isNear(a, b.slice(1), slips - 1) || isNear(a.slice(1), b.slice(1), slips - 1)
}

function wholeNumber(flag: string, text: string): number {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : NaN
  if (Number.isNaN(value)) throw usage(`${flag} takes a whole number from 0 on, got ${JSON.stringify(text)}.`, `For example ${flag} 10.`)
  return value
}

function dollars(flag: string, text: string): number {
  const cents = parseDollars(text)
  if (cents === null) {
    throw usage(`${flag} takes dollars with at most 2 decimals, from 0 on, got ${JSON.stringify(text)}.`, `For example ${flag} 150.00.`)
  }
  return cents
}

function rate(text: string): number {
  const value = /^\d{1,6}(\.\d{1,6})?$/.test(text) ? Number(text) : 0
  if (value === 0)
    throw usage(`--rate takes orders a second, above 0 and below 1,000,000, got ${JSON.stringify(text)}.`, 'For example --rate 50.')
  return value
}

function broker(text: string): (typeof brokers)[number] {
  const known = brokers.find((name) => name === text)
  if (known !== undefined) return known
  const close = brokers.find((name) => resembles(name, text.toLowerCase()))
  throw usage(
    `--broker takes ${brokers.join(' or ')}, got ${JSON.stringify(text)}.`,
    close === undefined ? 'For example --broker kafka.' : `Did you mean --broker ${close}?`,
  )
}

function serverUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : null
  // An "@" behind the host is the rest of a password with a "/", "?" or "#" in it.
  if (url !== null && /^postgres(ql)?:$/.test(url.protocol) && !/@/.test(url.pathname + url.search + url.hash)) return url
  // The text may hold a password, so it is not repeated.
  throw usage('--database takes the URL of a Postgres server.', 'For example --database postgresql://me@localhost:5432/postgres.')
}

function usage(message: string, hint: string): ShopError {
  return new ShopError('USAGE', exitCodes.usage, message, hint)
}
