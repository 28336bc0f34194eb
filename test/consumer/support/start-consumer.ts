import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterEach } from 'vitest'

export interface ConsumerProcessSettings {
  /** The service's database, and the broker's. */
  readonly url: string
  readonly log: string
  readonly lanes?: number
  readonly standstillMs?: number
  readonly sessionTimeoutMs?: number
}

/** A consumer in a child process. */
export interface ConsumerProcess {
  readonly child: ChildProcess
  readonly ended: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>
  /** Sends it a line: `stop`, `lanes 5`, `status`. */
  tell(line: string): void
  /** How often it has said so. */
  said(what: 'taken' | 'fenced' | 'released' | 'abandoned'): number
  /** Stands it still at a freeze point? */
  isFrozen(): boolean
  readonly complaint: () => string
}

const entry = fileURLToPath(new URL('consumer-process.ts', import.meta.url))
const running = new Set<ChildProcess>()

/** Nothing may be left running, frozen processes included, whatever failed. */
export function endConsumersAfterEach(): void {
  afterEach(async () => {
    await Promise.all([...running].map((child) => end(child)))
  })
}

export function startConsumer(settings: ConsumerProcessSettings, env: NodeJS.ProcessEnv = {}): ConsumerProcess {
  const child = spawn(process.execPath, ['--import', 'tsx', '--conditions=tidemark-source', entry, JSON.stringify(settings)], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  })
  running.add(child)
  const ended = once(child, 'exit').then(([code, signal]: unknown[]) => {
    running.delete(child)
    return { code: code as number | null, signal: signal as NodeJS.Signals | null }
  })
  const lines: string[] = []
  createInterface({ input: child.stdout! }).on('line', (line) => lines.push(line))
  let complaint = ''
  child.stderr!.on('data', (data: Buffer) => (complaint += data.toString()))
  return {
    child,
    ended,
    tell: (line) => void child.stdin!.write(`${line}\n`),
    said: (what) => lines.filter((line) => line === what).length,
    // The state follows the name, which may hold anything.
    isFrozen: () => / T /.test(readFileSync(`/proc/${child.pid}/stat`, 'utf8').replace(/.*\)/, ')')),
    complaint: () => complaint,
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exit = once(child, 'exit')
  child.kill('SIGKILL')
  await exit
}
