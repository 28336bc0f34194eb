import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { isAlive, parseIdentity, type ProcessIdentity, processWithPid } from '../../src/drivers/postgres/embedded/process-identity.ts'
import { readIfThere } from '../../src/drivers/postgres/embedded/small-file.ts'
import type { KeptHome } from './home.ts'

/** The broker that was started last: its process, and where it listens. */
export interface KeptBroker extends ProcessIdentity {
  /** For clients. */
  readonly port: number
  readonly controllerPort: number
}

/** What the file says, whether or not that process still runs. `null` where there is none, or it was cut short. */
export async function readBroker(home: KeptHome): Promise<KeptBroker | null> {
  const text = (await readIfThere(home.broker)) ?? ''
  const identity = parseIdentity(text)
  if (identity === null) return null
  const { port, controllerPort } = JSON.parse(text) as Partial<KeptBroker>
  return typeof port === 'number' && typeof controllerPort === 'number' ? { ...identity, port, controllerPort } : null
}

/** The broker that runs, or `null`. */
export async function findBroker(home: KeptHome): Promise<KeptBroker | null> {
  const broker = await readBroker(home)
  return broker !== null && isAlive(broker) ? broker : null
}

/** Notes a broker that was just spawned, without a wait in between: one that nobody knows would keep its data from the next. */
export function noteBroker(home: KeptHome, pid: number, port: number, controllerPort: number): KeptBroker {
  const broker = { ...(processWithPid(pid) ?? { pid, startedAt: 'gone' }), port, controllerPort }
  writeFileSync(home.broker, JSON.stringify(broker))
  return broker
}

/**
 * Brokers of this home that no file knows: whoever started one was killed in the very moment. Found by their command line; on systems without
 * /proc none are found, and the next start fails because its data are in use.
 */
export function strayBrokers(home: KeptHome): readonly ProcessIdentity[] {
  if (process.platform !== 'linux') return []
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && worksFor(name, home))
  return pids.flatMap((pid) => processWithPid(Number(pid)) ?? [])
}

function worksFor(pid: string, home: KeptHome): boolean {
  try {
    const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
    return words.includes('kafka.Kafka') && words.includes(home.properties)
  } catch {
    return false
  }
}
