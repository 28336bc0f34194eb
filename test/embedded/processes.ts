import { afterEach } from 'vitest'
import { type ChildProgram, type ProgramOptions, startProgram } from '../support/child-program.ts'
import { makeServerDirectory, removeServerDirectory } from '../support/test-run.ts'

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

export interface UserOptions extends ProgramOptions {
  readonly program?: URL
  readonly startTimeoutMs?: number
  readonly umask?: number
}

const users: ChildProgram[] = []
const directories: string[] = []

afterEach(async () => {
  for (const user of users.splice(0)) await user.kill()
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
  const { program = new URL('child.ts', import.meta.url), startTimeoutMs = 30_000, umask = process.umask(), ...rest } = options
  const user = startProgram(program, [home, String(startTimeoutMs), String(umask)], rest)
  users.push(user)
  let asked = 0
  const run = async (command: string): Promise<unknown> => {
    user.tell(command)
    const answer = JSON.parse(await user.line(asked++)) as { result: unknown } | { code: string; message: string }
    if ('code' in answer) throw new Error(`${answer.code}: ${answer.message}`)
    return answer.result
  }
  return {
    pid: user.pid,
    run,
    find: async (command) => (await run(command)) as Found,
    kill: () => user.kill(),
    end: async () => {
      user.tellEnd()
      return (await user.ended).code
    },
  }
}
