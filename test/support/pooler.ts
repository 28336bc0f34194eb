import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chown, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { type EmbeddedConnection, connectionUrl } from '../../src/drivers/postgres/embedded/connection.ts'
import { freePort } from './free-port.ts'
import { systemPackage } from './system-packages.ts'
import { unprivilegedUser } from './unprivileged-user.ts'
import { until } from './until.ts'

/** Is there a PgBouncer to test with? For `describe.skipIf`. */
export const pgbouncer = systemPackage('pgbouncer')

export interface PoolerOptions {
  /** Where its server is. Read at every start. */
  readonly server: () => EmbeddedConnection
  /** @default 'transaction' */
  readonly mode?: 'transaction' | 'statement'
  /** Connections to the server per database. Fewer than the clients, so that they really are shared. @default 4 */
  readonly poolSize?: number
}

/**
 * PgBouncer on 127.0.0.1, for every database of a server. Every transaction gets the connection that rested longest, so that two of one client
 * seldom run on the same one. Start it in `beforeAll`, stop it in `afterAll`.
 */
export class Pooler {
  readonly poolSize: number
  readonly #options: PoolerOptions
  #directory = ''
  #port = 0
  #process: ChildProcess | null = null

  constructor(options: PoolerOptions) {
    this.#options = options
    this.poolSize = options.poolSize ?? 4
  }

  /** How to connect to a database of the server through the pooler. The same after a restart. */
  connection(database: string): EmbeddedConnection {
    return { ...this.#options.server(), port: this.#port, database }
  }

  connectionString(database: string): string {
    return connectionUrl(this.connection(database))
  }

  /** Starts it, the first time on a free port and then on the same one. Resolves once it answers. */
  async start(): Promise<void> {
    const user = await unprivilegedUser()
    if (this.#directory === '') await this.#prepare(user)
    const child = spawn(pgbouncer.files[0]!, ['-q', join(this.#directory, 'pgbouncer.ini')], {
      ...user,
      cwd: this.#directory,
      stdio: 'ignore',
    })
    this.#process = child
    // Nothing may be left running, whatever failed.
    process.once('exit', () => child.kill('SIGKILL'))
    await until('the pooler answers', async () => {
      if (child.exitCode !== null) throw new Error(`PgBouncer ended: ${await readFile(join(this.#directory, 'log'), 'utf8')}`)
      return this.show('version').then(
        () => true,
        () => false,
      )
    })
  }

  /** Ends it, by a crash or as an operator would: SIGTERM at once, SIGINT once all transactions are over. It can be started again. */
  async end(signal: 'SIGKILL' | 'SIGTERM' | 'SIGINT' = 'SIGKILL'): Promise<void> {
    const child = this.#process
    if (child === null) return
    this.#process = null
    const ended = once(child, 'exit')
    child.kill(signal)
    await ended
  }

  /** Ends it for good. */
  async stop(): Promise<void> {
    await this.end()
    if (this.#directory !== '') await rm(this.#directory, { recursive: true, force: true })
  }

  /** What its console says, as `show clients`. */
  async show(what: 'clients' | 'servers' | 'version'): Promise<readonly Readonly<Record<string, unknown>>[]> {
    const client = new pg.Client(this.connection('pgbouncer'))
    client.on('error', () => undefined)
    try {
      await client.connect()
      return (await client.query<Record<string, unknown>>(`show ${what}`)).rows
    } finally {
      await client.end().catch(() => undefined)
    }
  }

  async #prepare(user: { readonly uid: number; readonly gid: number } | null): Promise<void> {
    const { host, port, user: name, password } = this.#options.server()
    this.#directory = await mkdtemp(join(tmpdir(), 'tidemark-pooler-'))
    this.#port = await freePort()
    const settings = {
      listen_addr: '127.0.0.1',
      listen_port: this.#port,
      unix_socket_dir: '',
      logfile: join(this.#directory, 'log'),
      auth_type: 'scram-sha-256',
      auth_file: join(this.#directory, 'users.txt'),
      admin_users: name,
      pool_mode: this.#options.mode ?? 'transaction',
      default_pool_size: this.poolSize,
      max_client_conn: 500,
      server_round_robin: 1,
      server_login_retry: 1,
    }
    const lines = Object.entries(settings).map(([key, value]) => `${key} = ${value}`)
    const files = {
      'pgbouncer.ini': ['[databases]', `* = host=${host} port=${port}`, '[pgbouncer]', ...lines, ''].join('\n'),
      'users.txt': `"${name}" "${password}"\n`,
    }
    for (const [file, text] of Object.entries(files)) await writeFile(join(this.#directory, file), text, { mode: 0o600 })
    if (user === null) return
    for (const file of ['', ...Object.keys(files)]) await chown(join(this.#directory, file), user.uid, user.gid)
  }
}
