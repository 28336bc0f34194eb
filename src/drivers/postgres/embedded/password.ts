import { randomBytes } from 'node:crypto'
import type { Home } from './home.ts'
import { readIfThere, writeWhole } from './small-file.ts'

/** The superuser's password, or `null` where none was made yet. */
export async function readPassword(home: Home): Promise<string | null> {
  return (await readIfThere(home.password))?.trim() ?? null
}

/** The password, made at random if there is none. It is stored before any data exist, in a file that only its owner can read. */
export async function ensurePassword(home: Home): Promise<string> {
  const present = await readPassword(home)
  if (present !== null && present !== '') return present
  const password = randomBytes(24).toString('base64url')
  await writeWhole(home.password, password, 0o600)
  return password
}
