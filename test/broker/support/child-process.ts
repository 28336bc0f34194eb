import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'

/** A program of this folder in a process of its own, which says what happens to it in lines of JSON. */
export interface Child<Line> {
  readonly process: ChildProcess
  readonly lines: Line[]
  signal(name: 'SIGKILL' | 'SIGSTOP' | 'SIGCONT'): void
  /** Kills it, if it still runs, and waits for its end. */
  end(): Promise<void>
}

export function startChild<Line>(program: URL, settings: unknown): Child<Line> {
  const tsx = import.meta.resolve('tsx')
  const args = ['--import', tsx, '--conditions=tidemark-source', program.pathname, JSON.stringify(settings)]
  const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] })
  const lines: Line[] = []
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(JSON.parse(line) as Line))
  const ended = new Promise<void>((resolve) => child.on('exit', () => resolve()))
  return {
    process: child,
    lines,
    signal: (name) => void child.kill(name),
    async end() {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
      await ended
    },
  }
}
