import { type ChildProcess, type SpawnOptions, spawn, spawnSync } from 'node:child_process'

const running = new Set<ChildProcess>()
let exitIsWatched = false
let kernelEndsChildren: boolean | undefined

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

/** util-linux has the option, BusyBox does not. */
function untilWeEnd(): readonly string[] {
  if (process.platform !== 'linux') return []
  const command = ['setpriv', '--pdeathsig', 'KILL'] as const
  kernelEndsChildren ??= spawnSync(command[0], [...command.slice(1), 'true'], { stdio: 'ignore' }).status === 0
  return kernelEndsChildren ? command : []
}

function killAllAtExit(): void {
  if (exitIsWatched) return
  exitIsWatched = true
  process.once('exit', () => {
    for (const child of running) child.kill('SIGKILL')
  })
}
