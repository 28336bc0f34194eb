import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Step, StepDone, StepFailed } from './subject.ts'

/** A subject's process, seen from the bench. */
export interface RunningSubject {
  perform(step: Step): Promise<StepDone>
  /** Ends the process if it has not ended by itself. */
  end(): Promise<void>
}

/** Longer than any step of a sound run. A subject that hangs becomes an error, not a bench that never ends. */
const stepTimeoutMs = 600_000
const endTimeoutMs = 5_000

/**
 * Starts a module that calls `serveSubject`, with the Node and the options of this process.
 * What it prints goes to stderr: stdout belongs to the bench's result. `flags` are more options of Node.
 */
export function startSubject(module: URL, input: unknown, flags: readonly string[] = []): RunningSubject {
  const child = fork(fileURLToPath(module), [], {
    execArgv: [...process.execArgv, ...flags],
    env: { ...process.env, NODE_ENV: 'production', BENCH_INPUT: JSON.stringify(input) },
    stdio: ['ignore', process.stderr, process.stderr, 'ipc'],
  })
  const ended = once(child, 'exit')

  return {
    async perform(step) {
      const answer = await new Promise<StepDone | StepFailed>((resolve, reject) => {
        const onExit = (code: number | null, signal: string | null): void =>
          reject(new Error(`the process of ${module.pathname} ended in ${step} (${signal ?? `exit code ${String(code)}`})`))
        const timer = setTimeout(
          () => reject(new Error(`${step} of ${module.pathname} took more than ${stepTimeoutMs / 1000} s`)),
          stepTimeoutMs,
        )
        child.once('exit', onExit)
        child.once('message', (message) => {
          clearTimeout(timer)
          child.off('exit', onExit)
          resolve(message as StepDone | StepFailed)
        })
        child.send(step, (error) => {
          if (error) reject(error)
        })
      })
      if ('failed' in answer) throw new Error(`${answer.failed} failed: ${answer.error}`)
      return answer
    },
    async end() {
      if (child.exitCode !== null || child.signalCode !== null) return
      const killer = setTimeout(() => child.kill('SIGKILL'), endTimeoutMs)
      if (child.connected) child.disconnect()
      await ended
      clearTimeout(killer)
    },
  }
}
