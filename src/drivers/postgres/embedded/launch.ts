import { spawn } from 'node:child_process'
import { dirname } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { program } from './binaries.ts'
import type { Address } from './databases.ts'
import { failureWithLog } from './failure.ts'
import type { Home } from './home.ts'
import { freePort } from './port.ts'
import { disarmStalePidFile } from './postmaster.ts'
import { logTail, openLog } from './server-log.ts'
import { serverEnvironment, settingArguments, type ServerSettings } from './settings.ts'
import type { Site } from './site.ts'
import { readIfThere } from './small-file.ts'

/** Waits for the server that was just started; `null` when it ended instead. */
type UntilServing = (leftMs: number, hasEnded: () => boolean) => Promise<Address | null>

/** A server process that was spawned, and where in the log its lines begin. */
interface Attempt {
  readonly since: number
  /** Why it ended, or `null` while it runs. */
  readonly ended: () => string | null
}

/**
 * Starts the server, detached from this process, and resolves once it answers. Tries again on another port if the port was taken in the
 * meantime, and later while backends of a killed predecessor still hold its memory. Rejects with `EMBEDDED_FAILED`.
 */
export async function launch(
  home: Home,
  site: Site,
  settings: ServerSettings,
  timeoutMs: number,
  untilServing: UntilServing,
): Promise<Address> {
  const deadline = performance.now() + timeoutMs
  const refusedPorts = new Set<number>()
  const tried: string[] = []
  for (;;) {
    const port = await freePort(Number(await readIfThere(home.port)) || null, refusedPorts)
    await disarmStalePidFile(site.data)
    const attempt = await spawnServer(home, site, settingArguments(settings, port))
    const address = await untilServing(Math.max(deadline - performance.now(), 0), () => attempt.ended() !== null)
    if (address !== null) return address

    const end = attempt.ended() ?? 'ended'
    tried.push(`port ${port}: ${end}`)
    const obstacle = obstacleIn(await logTail(home.log, attempt.since)) ?? (endedFromOutside.has(end) ? 'interruption' : null)
    if (obstacle === null || performance.now() > deadline) {
      throw await failureWithLog(home, attempt.since, `The embedded Postgres server did not start (${tried.slice(-5).join('; ')}).`, {
        details: { data: site.data, tried },
      })
    }
    if (obstacle === 'port') refusedPorts.add(port)
    else await delay(100)
  }
}

async function spawnServer(home: Home, { binaries, data, user }: Site, settings: readonly string[]): Promise<Attempt> {
  const log = await openLog(home.log)
  try {
    const { size } = await log.stat()
    const server = spawn(program(binaries, 'postgres'), ['-D', data, ...settings], {
      // Its own session: it outlives us, and the Ctrl-C of our terminal is not its end.
      detached: true,
      stdio: ['ignore', log.fd, log.fd],
      cwd: dirname(data),
      env: serverEnvironment(),
      windowsHide: true,
      ...(user === null ? {} : { uid: user.uid, gid: user.gid }),
    })
    let ended: string | null = null
    server.once('error', (error) => (ended ??= error.message))
    server.once('exit', (code, signal) => (ended ??= code === null ? `ended by ${signal}` : `exit code ${code}`))
    server.unref()
    return { since: size, ended: () => ended }
  } finally {
    await log.close()
  }
}

/** Somebody killed it, or asked it to stop, while it started. */
const endedFromOutside: ReadonlySet<string> = new Set(['ended by SIGKILL', 'exit code 0'])

/** What kept the server from starting, if it may be otherwise at the next try. The texts are those of src/backend in Postgres. */
function obstacleIn(log: string): 'port' | 'predecessor' | null {
  if (/could not bind|could not create any TCP\/IP sockets/.test(log)) return 'port'
  if (/pre-existing shared memory block|lock file "[^"]*" already exists/.test(log)) return 'predecessor'
  return null
}
