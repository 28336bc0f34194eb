import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterEach } from 'vitest'
import type { RetentionSettings } from '../../../src/drivers/postgres/outbox-retention.ts'

export interface RelayProcessSettings {
  readonly url: string
  readonly fences: boolean
  readonly stream?: number
  readonly streams?: number
  readonly pageSize?: number
  readonly leaseMs?: number
  /** Partitions are kept only when given. */
  readonly retention?: Partial<RetentionSettings>
}

/** A relay in a child process. */
export interface RelayProcess {
  readonly child: ChildProcess
  /** How it ended. */
  readonly ended: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>
  /** Resolves at the first line that says so; rejects if the process ends before. */
  said(line: 'taken-over' | 'standing-by' | 'fenced'): Promise<void>
}

const entry = fileURLToPath(new URL('relay-process.ts', import.meta.url))
const running = new Set<ChildProcess>()

/** Nothing may be left running, frozen processes included, whatever failed. */
export function endRelaysAfterEach(): void {
  afterEach(async () => {
    await Promise.all([...running].map((child) => end(child)))
  })
}

export function startRelay(settings: RelayProcessSettings, env: NodeJS.ProcessEnv = {}): RelayProcess {
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
  const waiting: (() => void)[] = []
  createInterface({ input: child.stdout! }).on('line', (line) => {
    lines.push(line)
    for (const look of waiting) look()
  })
  let complaint = ''
  child.stderr!.on('data', (data: Buffer) => (complaint += data.toString()))
  const said = (line: string): Promise<void> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        if (lines.includes(line)) resolve()
      }
      waiting.push(look)
      look()
      void ended.then(({ code, signal }) => reject(new Error(`the relay ended (${code ?? signal}) before "${line}": ${complaint}`)))
    })
  return { child, ended, said }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exit = once(child, 'exit')
  child.kill('SIGKILL')
  await exit
}
