import { setTimeout as delay } from 'node:timers/promises'
import { TidemarkError } from '../../../errors.ts'
import { connectionTo, maintenanceDatabase, probe } from './connection.ts'
import { giveDataTo, hasData, initialiseData, removeDrafts } from './data-directory.ts'
import type { Address } from './databases.ts'
import { failureWithLog } from './failure.ts'
import { giveToOwner, type Home } from './home.ts'
import { launch } from './launch.ts'
import { ensurePassword, readPassword } from './password.ts'
import { findPostmaster, orphansOf } from './postmaster.ts'
import type { ServerSettings } from './settings.ts'
import { currentData, prepareSite, type Site } from './site.ts'
import { readIfThere, writeWhole } from './small-file.ts'
import { endsWithin, signal } from './stop.ts'

/** A backend in a long computation may need this long to see that it was asked to end. */
const orphanPatienceMs = 3_000

/**
 * Makes sure that the server runs and answers: adopts a running one, whoever started it, else starts it, with new data if there are none.
 * Callers hold the lock. Rejects with `EMBEDDED_MISSING` or `EMBEDDED_FAILED`.
 */
export async function bringUp(home: Home, settings: ServerSettings, startTimeoutMs: number): Promise<Address> {
  const adopted = await untilServing(home, await currentData(home), startTimeoutMs)
  if (adopted !== null) return adopted
  const site = await prepareSite(home)
  await ensureData(home, site, settings)
  await endOrphans(site.data)
  const address = await launch(home, site, settings, startTimeoutMs, (leftMs, hasEnded) => untilServing(home, site.data, leftMs, hasEnded))
  await giveToOwner(home)
  return address
}

/**
 * Waits until the server of this directory answers and notes its port. `null` when there is none, or, for one that was just started, when it
 * has ended. One that takes too long is left running: it may be recovering, and the next call goes on waiting for it.
 */
async function untilServing(home: Home, data: string, timeoutMs: number, hasEnded?: () => boolean): Promise<Address | null> {
  const deadline = performance.now() + timeoutMs
  for (;;) {
    const ended = hasEnded?.() ?? true
    const postmaster = await findPostmaster(data)
    if (postmaster === null && ended) return null
    if (postmaster?.status === 'ready') {
      const password = (await readPassword(home)) ?? ''
      const leftMs = Math.max(deadline - performance.now(), 100)
      const answer = await probe(connectionTo(postmaster.port, password, maintenanceDatabase), leftMs)
      if (answer === 'answers') {
        if ((await readIfThere(home.port)) !== String(postmaster.port)) await writeWhole(home.port, String(postmaster.port), 0o644)
        return { port: postmaster.port, password }
      }
      if (answer === 'refuses') throw wrongPassword(home, postmaster.pid)
    }
    if (performance.now() > deadline) {
      const who = postmaster === null ? 'The embedded Postgres server' : `The embedded Postgres server, process ${postmaster.pid},`
      throw await failureWithLog(home, 0, `${who} did not answer within ${timeoutMs / 1_000} s (state: ${postmaster?.status ?? 'none'}).`, {
        remedy: 'It may be recovering after a crash and was left running: try again. If it is suspended, continue or end it.',
      })
    }
    await delay(15)
  }
}

async function ensureData(home: Home, site: Site, settings: ServerSettings): Promise<void> {
  await removeDrafts(site.data)
  if (!(await hasData(site))) {
    await initialiseData(site, await ensurePassword(home), !['off', 'false', '0'].includes(String(settings['fsync'])))
  } else if ((await readPassword(home)) === null) {
    throw new TidemarkError(
      'EMBEDDED_FAILED',
      `The password of the embedded Postgres server is missing: there is no file ${home.password}.`,
      {
        remedy: `Restore it, or delete ${site.data} to start with an empty server.`,
      },
    )
  }
  await giveDataTo(site.user, site.data)
}

async function endOrphans(data: string): Promise<void> {
  for (const orphan of orphansOf(data)) {
    signal(orphan, 'SIGTERM')
    if (await endsWithin(orphan, orphanPatienceMs)) continue
    // Its transaction is lost with the postmaster already, and nothing it still does can reach the disk as committed.
    signal(orphan, 'SIGKILL')
    await endsWithin(orphan, orphanPatienceMs)
  }
}

function wrongPassword(home: Home, pid: number): TidemarkError {
  return new TidemarkError(
    'EMBEDDED_FAILED',
    `The embedded Postgres server, process ${pid}, does not take the password in ${home.password}.`,
    {
      details: { pid },
      remedy:
        'Restore that file or the password of the user postgres; or end the process and delete the directory to start with an empty server.',
    },
  )
}
