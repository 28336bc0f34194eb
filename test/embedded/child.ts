/** A process that uses the embedded server, told what to do line by line on its standard input. It ends by itself once that is closed. */
import { appendFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { onConnection } from '../../src/drivers/postgres/embedded/connection.ts'
import { embedded, type EmbeddedLease } from '../../src/drivers/postgres/embedded/index.ts'
import { withLock } from '../../src/drivers/postgres/embedded/lock.ts'
import { TidemarkError } from '../../src/errors.ts'

const [directory = '', startTimeoutMs = '30000', umask = '18'] = process.argv.slice(2)
process.umask(Number(umask))
let lease: EmbeddedLease | null = null

const commands: Record<string, (argument: string) => Promise<unknown>> = {
  acquire: async () => {
    lease = await embedded({ directory, startTimeoutMs: Number(startTimeoutMs) }).acquire()
    return where()
  },
  ensureRunning: async () => {
    await lease?.ensureRunning()
    return where()
  },
  release: async () => lease?.release(),
  /** Takes the lock `times` times; notes in a file when each hold begins and ends. */
  lock: async (argument) => {
    const { lock, journal, times, holdMs } = JSON.parse(argument) as { lock: string; journal: string; times: number; holdMs: number }
    for (let turn = 0; turn < times; turn++) {
      const note = `${process.pid}.${turn}`
      await withLock(lock, 60_000, async () => {
        appendFileSync(journal, `enter ${note}\n`)
        await delay(Math.random() * holdMs)
        appendFileSync(journal, `leave ${note}\n`)
      })
    }
    return null
  },
}

/** Which server: its port, and the moment its first process began. */
function where(): Promise<unknown> {
  if (lease === null) throw new Error('not acquired')
  const connection = lease.connection('postgres')
  return onConnection(connection, async (client) => {
    const { rows } = await client.query<{ started: string }>('select pg_postmaster_start_time()::text as started')
    return { port: connection.port, started: rows[0]?.started, url: lease?.connectionString('postgres') }
  })
}

for await (const line of createInterface({ input: process.stdin })) {
  const [name = '', ...rest] = line.split(' ')
  try {
    const result = await commands[name]?.(rest.join(' '))
    process.stdout.write(`${JSON.stringify({ result: result ?? null })}\n`)
  } catch (error) {
    const code = TidemarkError.is(error) ? error.code : 'unexpected'
    process.stdout.write(`${JSON.stringify({ code, message: (error as Error).message })}\n`)
  }
}
