import type { ChildProcess } from 'node:child_process'
import { open } from 'node:fs/promises'
import { startChild } from './child.ts'
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
  /** @default process.env */
  readonly environment?: NodeJS.ProcessEnv
}

export interface JavaServer extends JavaProgram {
  /** Where it runs. */
  readonly directory: string
  /** Both its outputs go here, after what is there. */
  readonly logFile: string
}

/** How Java is set up: to start in half the time, with half the throughput, or as Kafka's own scripts do it. */
export type Speed = 'quick' | 'full'

export const speedFlags: Readonly<Record<Speed, readonly string[]>> = {
  quick: ['-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC'],
  full: ['-server', '-XX:+UseG1GC', '-XX:MaxGCPauseMillis=20', '-XX:InitiatingHeapOccupancyPercent=35', '-XX:+ExplicitGCInvokesConcurrent'],
}

/** The command line of a program. */
export function javaCommand({ environment, heapMb, flags = [], jars, mainClass, args }: JavaProgram): readonly string[] {
  return [findJava(environment), `-Xmx${heapMb}m`, '-Djava.awt.headless=true', ...flags, '-cp', classPath(jars), mainClass, ...args]
}

/** A long-running Java program, which does not outlive this process. */
export class JavaProcess {
  readonly pid: number
  /** Resolves with how it ended: `exit code 0`, or the name of a signal. */
  readonly ended: Promise<string>
  readonly #child: ChildProcess
  #running = true

  private constructor(child: ChildProcess, pid: number) {
    this.#child = child
    this.pid = pid
    this.ended = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        this.#running = false
        resolve(signal ?? `exit code ${code ?? 'unknown'}`)
      })
    })
  }

  static async start(server: JavaServer): Promise<JavaProcess> {
    const log = await open(server.logFile, 'a')
    try {
      const child = await startChild(javaCommand(server), {
        cwd: server.directory,
        env: server.environment ?? process.env,
        stdio: ['ignore', log.fd, log.fd],
      })
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
