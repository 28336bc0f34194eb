import { spawn, type ChildProcessByStdio } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { afterEach } from 'vitest'
import { makeServerDirectory, removeServerDirectory } from '../support/test-run.ts'

const tsx = import.meta.resolve('tsx')

/** Which server a process found. */
export interface Found {
  readonly port: number
  readonly started: string
  readonly url: string
}

/** A process of a test that uses the embedded server. */
export interface User {
  readonly pid: number
  /** Makes it acquire a lease, or ask for a running server. Rejects with the code and message of its error. */
  find(command: 'acquire' | 'ensureRunning'): Promise<Found>
  run(command: string): Promise<unknown>
  /** Ends it with SIGKILL. */
  kill(): Promise<void>
  /** Tells it that no more commands come, and waits until it ends by itself. Resolves with its exit code. */
  end(): Promise<number | null>
}

export interface UserOptions {
  readonly program?: string
  readonly uid?: number
  readonly gid?: number
  readonly startTimeoutMs?: number
  readonly cwd?: string
  readonly umask?: number
}

const started: ChildProcessByStdio<Writable, Readable, null>[] = []
const directories: string[] = []

afterEach(async () => {
  for (const child of started.splice(0)) await killAndWait(child)
  for (const directory of directories.splice(0)) await removeServerDirectory(directory)
})

/** A directory whose `postgres` folder is a server's home. Both go after the test. */
export async function serverDirectory(): Promise<string> {
  const directory = await makeServerDirectory()
  directories.push(directory)
  return directory
}

/** Starts a process for the server at this home. It ends after the test at the latest. */
export function startUser(home: string, options: UserOptions = {}): User {
  const { program = fileURLToPath(new URL('child.ts', import.meta.url)), startTimeoutMs = 30_000, cwd, umask, uid, gid } = options
  const args = ['--import', tsx, '--conditions=tidemark-source', program, home, String(startTimeoutMs), String(umask ?? process.umask())]
  const child = spawn(process.execPath, args, {
    stdio: ['pipe', 'pipe', 'inherit'],
    ...(cwd === undefined ? {} : { cwd }),
    ...(uid === undefined || gid === undefined ? {} : { uid, gid }),
  })
  started.push(child)
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const run = async (command: string): Promise<unknown> => {
    child.stdin.write(`${command}\n`)
    const { value, done } = await answers.next()
    if (done === true) throw new Error('the process ended without an answer')
    const answer = JSON.parse(value) as { result: unknown } | { code: string; message: string }
    if ('code' in answer) throw new Error(`${answer.code}: ${answer.message}`)
    return answer.result
  }
  return {
    pid: child.pid ?? 0,
    run,
    find: async (command) => (await run(command)) as Found,
    kill: () => killAndWait(child),
    end: async () => {
      const exit = once(child, 'exit')
      child.stdin.end()
      const [code] = (await exit) as [number | null]
      return code
    },
  }
}

async function killAndWait(child: ChildProcessByStdio<Writable, Readable, null>): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exit = once(child, 'exit')
  child.kill('SIGKILL')
  await exit
}
