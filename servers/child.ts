import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'

const running = new Set<ChildProcess>()
let exitIsWatched = false

/**
 * Starts a program that ends with this process, whatever ends that: by the kernel on Linux, elsewhere unless it is SIGKILL. Rejects if it
 * cannot be started.
 */
export async function startChild(command: readonly string[], options: SpawnOptions): Promise<ChildProcess> {
  const [program = '', ...args] = [...untilWeEnd(), ...command]
  const child = spawn(program, args, options)
  await new Promise<void>((resolve, reject) => child.once('spawn', resolve).once('error', reject))
  running.add(child)
  child.once('exit', () => running.delete(child))
  killAllAtExit()
  return child
}

function untilWeEnd(): readonly string[] {
  const setpriv = '/usr/bin/setpriv'
  return process.platform === 'linux' && existsSync(setpriv) ? [setpriv, '--pdeathsig', 'KILL'] : []
}

function killAllAtExit(): void {
  if (exitIsWatched) return
  exitIsWatched = true
  process.once('exit', () => {
    for (const child of running) child.kill('SIGKILL')
  })
}
