import { postgres } from 'tidemark/postgres'
import { checkInvoices, checkOrderPerCustomer, createInvoiceTable } from '../consume/invoices.ts'
import { ownVersion } from '../harness/installed-version.ts'
import type { Sample } from '../harness/result.ts'
import type { Contender } from '../harness/rounds.ts'
import { withDatabases } from '../harness/scratch-databases.ts'
import type { Server } from '../harness/server.ts'
import { startSubject } from '../harness/start-subject.ts'
import { median } from '../harness/statistics.ts'
import { insertLetters } from './many-letters.ts'
import type { FailureMode } from './modes.ts'

export const throughput = 'throughput'

const names = ['database', 'shop', 'log'] as const
type Databases = Readonly<Record<(typeof names)[number], string>>

function sample(system: string, metric: string, unit: string, value: number): Sample {
  return { system, version: ownVersion(), metric, unit, value }
}

/** One run of a mode: fresh databases, the backlog, a checkpoint, then the clock; at last everything is counted. */
export function failureContender(server: Server, mode: FailureMode, messages: number): Contender {
  return {
    name: mode.name,
    measure: () =>
      withDatabases(server, names, async (databases) => {
        await createInvoiceTable(server, databases.database)
        const seconds = await performed(server, new URL('./failure-subject.ts', import.meta.url), databases, { messages, mode })
        await checkOrderPerCustomer(server, databases.database)
        await checkAll(server, databases.database, messages, mode)
        return [sample(mode.name, throughput, 'messages/s', messages / seconds['seconds']!)]
      }),
  }
}

export function redriveContender(server: Server, name: string, messages: number): Contender {
  return {
    name,
    measure: () =>
      withDatabases(server, names, async (databases) => {
        await createInvoiceTable(server, databases.database)
        const figures = await performed(server, new URL('./redrive-subject.ts', import.meta.url), databases, { messages })
        await checkInvoices(server, databases.database, messages)
        await checkOrderPerCustomer(server, databases.database)
        return [
          sample(name, 'redriven to the effect', 'letters/s', messages / figures['seconds']!),
          sample(name, 'put back', 'letters/s', messages / figures['askedSeconds']!),
        ]
      }),
  }
}

/** What a redrive of many leaves of the traffic on the same lanes. */
export function besideContender(server: Server, { letters: count, rate }: { readonly letters: number; readonly rate: number }): Contender {
  return {
    name: beside,
    measure: () =>
      withDatabases(server, names, async (databases) => {
        await createInvoiceTable(server, databases.database)
        const input = { letters: count, rate }
        const figures = await performed(server, new URL('./beside-subject.ts', import.meta.url), databases, input)
        await checkEach(server, databases.database, figures['messages']!)
        return [
          sample(beside, 'live, alone', 'messages/s', figures['alone']!),
          sample(beside, throughput, 'messages/s', figures['whilePutBack']!),
          sample(beside, 'live, until the last effect', 'messages/s', figures['beside']!),
          sample(beside, 'live, slowest second', 'messages/s', figures['slowest']!),
          sample(beside, 'put back', 'letters/s', count / figures['askedSeconds']!),
          sample(beside, 'redriven to the effect', 'letters/s', count / figures['redriveSeconds']!),
          sample(beside, 'runs in vain', 'runs', figures['inVain']!),
        ]
      }),
  }
}

export const beside = 'live traffic beside a redrive'

/** Every order has one invoice. */
async function checkEach(server: Server, database: string, messages: number): Promise<void> {
  const [found] = await server.query<{ rows: number; orders: number }>(
    database,
    'select count(*)::int as rows, count(distinct order_id)::int as orders from invoices',
  )
  if (found?.rows !== messages || found.orders !== messages)
    throw new Error(`wrong effects of ${messages} orders: ${JSON.stringify(found)}`)
}

/** How long an operator waits who looks at many dead letters. */
export function letters(server: Server, count: number): Contender {
  const name = `${count.toLocaleString('en-US')} letters`
  return {
    name,
    measure: () =>
      withDatabases(server, ['database'], async ({ database }) => {
        const open = await postgres({ connectionString: database }).open('billing')
        try {
          await insertLetters(server, database, count)
          await server.settle([database])
          const store = open.deadLetters
          return [
            sample(name, 'first page', 'ms', await medianMs(() => store.list({}))),
            sample(name, 'page of one group and type', 'ms', await medianMs(() => store.list({ groups: ['group-1'], types: ['Type1'] }))),
            sample(name, 'groups', 'ms', await medianMs(() => store.groups({}))),
            sample(name, 'search without a match', 'ms', await medianMs(() => store.list({ text: 'nothing has this' }))),
          ]
        } finally {
          await open.close()
        }
      }),
  }
}

async function medianMs(work: () => Promise<unknown>): Promise<number> {
  const times: number[] = []
  for (let n = 0; n < 11; n++) {
    const from = performance.now()
    await work()
    times.push(performance.now() - from)
  }
  return median(times)
}

async function performed(server: Server, module: URL, databases: Databases, input: object): Promise<Readonly<Record<string, number>>> {
  const subject = startSubject(module, { ...databases, ...input })
  try {
    await subject.perform('prepare')
    await server.settle(Object.values(databases))
    const { figures } = await subject.perform('run')
    await subject.perform('stop')
    return figures
  } finally {
    await subject.end()
  }
}

/** Every message has taken effect once, or waits with its key, or in a retry topic; and those of keys that fail do. */
async function checkAll(server: Server, database: string, messages: number, { fails, retryTopics = false }: FailureMode): Promise<void> {
  const [found] = await server.query<{ effects: number; orders: number; parked: number; keys: number; letters: number }>(
    database,
    `select (select count(*) from invoices)::int as effects, (select count(distinct order_id) from invoices)::int as orders,
      (select count(*) from tidemark.parked_msg)::int + (select count(*) from tidemark.outbox)::int as parked, (select count(*) from tidemark.parked_key)::int as keys,
      (select count(*) from tidemark.dead_letter)::int as letters`,
  )
  const isRight =
    found!.effects === found!.orders &&
    found!.effects + found!.parked === messages &&
    found!.letters === 0 &&
    found!.parked > 0 === (fails !== 'never') &&
    found!.keys > 0 === (fails !== 'never' && !retryTopics)
  if (!isRight) throw new Error(`wrong outcome of ${messages} messages: ${JSON.stringify(found)}`)
}
