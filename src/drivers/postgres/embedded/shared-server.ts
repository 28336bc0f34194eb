import { existsSync, readFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { TidemarkError } from '../../../errors.ts'
import { bringUp } from './bring-up.ts'
import { connectionTo, maintenanceDatabase, probe, type EmbeddedConnection } from './connection.ts'
import type { Address } from './databases.ts'
import { makeHome, type Home } from './home.ts'
import { liveLeases, writeLease } from './leases.ts'
import { withLock } from './lock.ts'
import { removePlace } from './place.ts'
import { boundLog } from './server-log.ts'
import type { ServerSettings } from './settings.ts'
import { currentData } from './site.ts'
import { stopServer, type StopMode } from './stop.ts'

/** Another process may hold the lock while it initialises (up to 60 s), waits for a start and stops a server. */
const lockMarginMs = 90_000
const logCheckMs = 60_000

/** How a server is started. Decided by the first user of a process, if the server does not run already. */
export interface StartOptions {
  readonly settings: ServerSettings
  readonly startTimeoutMs: number
}

/** The server of one directory as all users in this process share it: they are counted, and the process has one lease for all of them. */
export class SharedServer {
  readonly #home: Home
  #users = 0
  #options: StartOptions = { settings: {}, startTimeoutMs: 30_000 }
  #lease: string | null = null
  #address: Address | null = null
  #lastTurn: Promise<unknown> = Promise.resolve()
  #reviving: Promise<void> | null = null
  #logCheck: NodeJS.Timeout | undefined

  constructor(home: Home) {
    this.#home = home
  }

  /** Adds a user. Resolves when the server answers; after a rejection nothing is held. */
  enter(options: StartOptions): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#users === 0) await this.#open(options)
      else if (!(await this.#answers())) await this.#bringUp()
      this.#users++
    })
  }

  /** Removes a user. The last one of the last process shuts the server down. */
  leave(): Promise<void> {
    return this.#inTurn(async () => {
      this.#users--
      if (this.#users === 0) await this.#close()
    })
  }

  /** Starts the server again if it does not answer. Calls at the same time share one attempt. */
  revive(): Promise<void> {
    this.#reviving ??= this.#inTurn(async () => {
      this.#reviving = null
      if (this.#users === 0) throw released()
      if (!(await this.#answers())) await this.#bringUp()
    })
    return this.#reviving
  }

  /** Where the server is now: read afresh, since another process may have started it again on another port. */
  connection(database: string): EmbeddedConnection {
    if (this.#address === null) throw released()
    return connectionTo(this.#currentPort() ?? this.#address.port, this.#address.password, database)
  }

  get address(): Address {
    const { port, password } = this.connection(maintenanceDatabase)
    return { port, password }
  }

  /** Stops the server regardless of its users, here and in other processes. */
  stop(mode: StopMode): Promise<void> {
    return this.#inTurn(async () => {
      if (existsSync(this.#home.directory)) await this.#locked(async () => stopServer(await currentData(this.#home), mode))
    })
  }

  /** Stops the server and deletes its data, password and programs. Rejects with `EMBEDDED_FAILED` while a process uses it. */
  remove(): Promise<void> {
    return this.#inTurn(async () => {
      if (existsSync(this.#home.directory)) await this.#locked(() => this.#removeAll())
    })
  }

  async #open(options: StartOptions): Promise<void> {
    this.#options = options
    await this.#bringUp()
    // A long-lived server under a long-lived process: nobody else looks after the size of its log.
    this.#logCheck = setInterval(() => void boundLog(this.#home.log).catch(() => undefined), logCheckMs).unref()
  }

  async #close(): Promise<void> {
    clearInterval(this.#logCheck)
    this.#address = null
    await this.#locked(async () => {
      await this.#dropLease()
      if ((await liveLeases(this.#home.leases)).length === 0) await stopServer(await currentData(this.#home), 'fast')
    })
  }

  async #bringUp(): Promise<void> {
    await makeHome(this.#home)
    await this.#locked(async () => {
      // Missing at the first start, and when somebody deleted the directory under us.
      if (this.#lease === null || !existsSync(this.#lease)) this.#lease = await writeLease(this.#home.leases)
      try {
        this.#address = await bringUp(this.#home, this.#options.settings, this.#options.startTimeoutMs)
      } catch (error) {
        if (this.#users === 0) await this.#dropLease()
        throw error
      }
    })
  }

  async #removeAll(): Promise<void> {
    const users = await liveLeases(this.#home.leases)
    if (users.length > 0) {
      const pids = users.map((user) => user.pid).join(', ')
      throw new TidemarkError('EMBEDDED_FAILED', `The embedded Postgres server in ${this.#home.directory} is used by process ${pids}.`, {
        details: { pids },
        remedy: 'Stop it there first.',
      })
    }
    const data = await currentData(this.#home)
    await stopServer(data, 'immediate')
    await removePlace(this.#home)
    const { leases, password, port, log, place } = this.#home
    for (const path of [data, leases, password, port, log, `${log}.1`, place])
      await rm(path, { recursive: true, force: true, maxRetries: 3 })
  }

  async #dropLease(): Promise<void> {
    if (this.#lease !== null) await rm(this.#lease, { force: true })
    this.#lease = null
  }

  async #answers(): Promise<boolean> {
    return this.#address !== null && (await probe(this.connection(maintenanceDatabase))) === 'answers'
  }

  #currentPort(): number | null {
    try {
      return Number(readFileSync(this.#home.port, 'utf8')) || null
    } catch {
      return null
    }
  }

  #locked<T>(work: () => Promise<T>): Promise<T> {
    return withLock(this.#home.lock, this.#options.startTimeoutMs + lockMarginMs, work)
  }

  /** One change at a time within the process; the lock sees to the other processes. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#lastTurn.then(work, work)
    this.#lastTurn = turn.catch(() => undefined)
    return turn
  }
}

function released(): TidemarkError {
  return new TidemarkError(
    'SERVICE_STOPPED',
    'The lease on the embedded Postgres server was released, so nobody keeps the server running.',
    {
      remedy: 'Acquire one before use, and release it after the last connection is closed.',
    },
  )
}
