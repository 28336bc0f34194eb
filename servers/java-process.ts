import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { classPath, findJava } from './java.ts'

export interface JavaProgram {
  /** The folder with its jars. */
  readonly jars: string
  readonly mainClass: string
  readonly args: readonly string[]
  /** The largest heap, in MiB. */
  readonly heapMb: number
  /** More flags of the virtual machine. */
  readonly flags?: readonly string[]
  /** Where it runs. */
  readonly directory: string
  /** Both its outputs go here, after what is there. */
  readonly logFile: string
  /** @default process.env */
  readonly environment?: NodeJS.ProcessEnv
}

const running = new Set<JavaProcess>()
let exitIsWatched = false

/** A long-running Java program. It ends with this process, whatever ends that: by the kernel on Linux, elsewhere as long as it is not SIGKILL. */
export class JavaProcess {
  readonly pid: number
  /** Resolves with how it ended. */
  readonly ended: Promise<string>
  readonly #child: ChildProcess
  #running = true

  private constructor(child: ChildProcess, pid: number) {
    this.#child = child
    this.pid = pid
    running.add(this)
    this.ended = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        this.#running = false
        running.delete(this)
        resolve(signal ?? `exit code ${code ?? 'unknown'}`)
      })
    })
  }

  static async start(program: JavaProgram): Promise<JavaProcess> {
    const command = [...untilWeEnd(), findJava(program.environment), ...flagsOf(program), program.mainClass, ...program.args]
    const log = await open(program.logFile, 'a')
    try {
      const child = spawn(command[0]!, command.slice(1), {
        cwd: program.directory,
        env: program.environment ?? process.env,
        stdio: ['ignore', log.fd, log.fd],
      })
      await new Promise<void>((resolve, reject) => child.once('spawn', resolve).once('error', reject))
      killAllAtExit()
      return new JavaProcess(child, child.pid!)
    } finally {
      await log.close()
    }
  }

  get isRunning(): boolean {
    return this.#running
  }

  signal(name: NodeJS.Signals): void {
    if (this.#running) this.#child.kill(name)
  }

  /** Asks it to end, and makes it end if it has not done so in time. */
  async end(patienceMs: number): Promise<void> {
    // A stopped process hears SIGTERM only when it goes on.
    this.signal('SIGCONT')
    this.signal('SIGTERM')
    const impatience = setTimeout(() => this.signal('SIGKILL'), patienceMs)
    await this.ended
    clearTimeout(impatience)
  }

  async kill(): Promise<void> {
    this.signal('SIGKILL')
    await this.ended
  }
}

function flagsOf({ heapMb, flags = [], jars }: JavaProgram): readonly string[] {
  return [`-Xmx${heapMb}m`, '-Djava.awt.headless=true', ...flags, '-cp', classPath(jars)]
}

/** On Linux the kernel ends the program when we end, even by SIGKILL. */
function untilWeEnd(): readonly string[] {
  const setpriv = '/usr/bin/setpriv'
  return process.platform === 'linux' && existsSync(setpriv) ? [setpriv, '--pdeathsig', 'KILL'] : []
}

function killAllAtExit(): void {
  if (exitIsWatched) return
  exitIsWatched = true
  process.once('exit', () => {
    for (const each of running) each.signal('SIGKILL')
  })
}
