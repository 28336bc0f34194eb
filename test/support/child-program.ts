import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { afterEach } from 'vitest'
import { compiledProgram } from './compiled-program.ts'

/** How a program ended, and all that it said. */
export interface Ending {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

export interface ProgramOptions {
  /** Added to the environment of the tests. */
  readonly env?: NodeJS.ProcessEnv
  readonly cwd?: string
  readonly uid?: number
  readonly gid?: number
}

const running = new Set<ChildProgram>()

// Nothing may be left running, frozen programs included, whatever failed.
afterEach(async () => {
  await Promise.all([...running].map((program) => program.kill()))
})

/** Starts a TypeScript program in a process of its own, on the sources of this repository. It ends after the test at the latest. */
export function startProgram(program: URL, args: readonly string[] = [], options: ProgramOptions = {}): ChildProgram {
  const { env, cwd, uid, gid } = options
  const child = spawn(process.execPath, ['--enable-source-maps', compiledProgram(program), ...args], {
    env: { ...process.env, ...env },
    ...(cwd === undefined ? {} : { cwd }),
    ...(uid === undefined || gid === undefined ? {} : { uid, gid }),
  })
  return new ChildProgram(child)
}

/** A program in a process of its own: heard line by line, told what to do, frozen and killed. */
export class ChildProgram {
  readonly ended: Promise<Ending>
  readonly #child: ChildProcessWithoutNullStreams
  readonly #said = { stdout: '', stderr: '' }
  readonly #listeners = new Set<() => void>()

  constructor(child: ChildProcessWithoutNullStreams) {
    this.#child = child
    running.add(this)
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].setEncoding('utf8').on('data', (text: string) => {
        this.#said[name] += text
        for (const listen of this.#listeners) listen()
      })
    }
    // Lines that reach a program which is about to end are of no interest.
    child.stdin.on('error', () => undefined)
    this.ended = new Promise((resolve) => {
      child.once('close', (code, signal) => {
        running.delete(this)
        resolve({ code, signal, ...this.#said })
      })
    })
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  get stderr(): string {
    return this.#said.stderr
  }

  /** The whole lines of its standard output so far. */
  get lines(): readonly string[] {
    return this.#said.stdout.split('\n').slice(0, -1)
  }

  /** How often it has said this line. */
  timesSaid(line: string): number {
    return this.lines.filter((said) => said === line).length
  }

  /** Resolves once the text so far, of both streams, matches. Rejects if the program ends before. */
  untilSaid(what: RegExp): Promise<void> {
    return this.#until(String(what), () => (what.test(this.#said.stdout) || what.test(this.#said.stderr) ? true : undefined)).then(
      () => undefined,
    )
  }

  /** Its line of this number, from 0. Rejects if the program ends before. */
  line(number: number): Promise<string> {
    return this.#until(`line ${number}`, () => this.lines[number])
  }

  /** Sends it a line. */
  tell(line: string): void {
    this.#child.stdin.write(`${line}\n`)
  }

  /** Tells it that no more lines come. */
  tellEnd(): void {
    this.#child.stdin.end()
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name)
  }

  /** Does it stand still, by SIGSTOP or at a freeze point? */
  isFrozen(): boolean {
    // The state follows the name, which may hold anything.
    return / T /.test(readFileSync(`/proc/${this.pid}/stat`, 'utf8').replace(/.*\)/, ')'))
  }

  /** Ends it with SIGKILL, if it still runs, and waits until it is gone. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.ended
  }

  #until<T>(what: string, look: () => T | undefined): Promise<T> {
    return new Promise((resolve, reject) => {
      const listen = (): void => {
        const found = look()
        if (found === undefined) return
        this.#listeners.delete(listen)
        resolve(found)
      }
      this.#listeners.add(listen)
      listen()
      void this.ended.then(({ code, signal, stdout, stderr }) =>
        reject(new Error(`the program ended (${code ?? signal}) before ${what}:\n${stdout}\n${stderr}`)),
      )
    })
  }
}
