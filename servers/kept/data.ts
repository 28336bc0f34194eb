import { execFile } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { readIfThere, writeWhole } from '../../src/drivers/postgres/embedded/small-file.ts'
import { classPath } from '../java.ts'
import type { KeptHome } from './home.ts'

const prefix = 'data-'

/** Java, and the jars of Kafka. */
export interface KafkaPrograms {
  readonly java: string
  readonly jars: string
}

/**
 * The data directory, made ready for its first start if there is none. Each attempt has a directory of its own, and the note is written last: one
 * that was killed in the middle leaves nothing that would be taken for data. Callers hold the lock.
 */
export async function ensureData(home: KeptHome, { java, jars }: KafkaPrograms, properties: (data: string) => string): Promise<string> {
  const noted = await readIfThere(home.dataNote)
  const kept = noted === null ? null : join(home.directory, (JSON.parse(noted) as { readonly directory: string }).directory)
  if (kept !== null && existsSync(kept)) return kept
  await removeDrafts(home)
  const name = `${prefix}${randomUUID()}`
  const data = join(home.directory, name)
  const settings = join(home.directory, `${name}.properties`)
  await writeFile(settings, properties(data))
  try {
    // An id may begin with a dash.
    const format = ['format', `--cluster-id=${randomBytes(16).toString('base64url')}`, '--config', settings]
    await promisify(execFile)(java, ['-Xmx128m', '-XX:TieredStopAtLevel=1', '-cp', classPath(jars), 'kafka.tools.StorageTool', ...format])
  } catch (cause) {
    throw new Error(`Kafka's directory ${data} could not be prepared: ${reasonOf(cause)}`, { cause })
  } finally {
    await rm(settings, { force: true })
  }
  await writeWhole(home.dataNote, JSON.stringify({ directory: name }), 0o644)
  return data
}

async function removeDrafts(home: KeptHome): Promise<void> {
  const left = (await readdir(home.directory)).filter((name) => name.startsWith(prefix))
  for (const name of left) await rm(join(home.directory, name), { recursive: true, force: true })
}

function reasonOf(cause: unknown): string {
  const { message, stderr = '' } = cause as { message: string; stderr?: string }
  return tooOld(stderr) ?? (stderr.trim() || message)
}

/** What to do, if this log says that Java is too old for Kafka. */
export function tooOld(log: string): string | null {
  return log.includes('UnsupportedClassVersionError') ? 'This Java is too old: Kafka needs Java 17 or newer.' : null
}
