import { chmod, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { embedded } from '../../src/drivers/postgres/embedded/index.ts'
import { isAlive, parseIdentity, thisProcess } from '../../src/drivers/postgres/embedded/process-identity.ts'
import { readIfThere } from '../../src/drivers/postgres/embedded/small-file.ts'

const prefix = 'tidemark-test-'

/** Makes a directory for a test's server, which a later run removes if this process is killed before it does. */
export async function makeServerDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), prefix))
  // Under root the server runs as another user and must be able to pass through.
  await chmod(directory, 0o755)
  await writeFile(join(directory, 'owner.json'), JSON.stringify(thisProcess()))
  return directory
}

/** Stops the server in a directory, whoever uses it, and removes both. */
export async function removeServerDirectory(directory: string): Promise<void> {
  const server = embedded({ directory: join(directory, 'postgres') })
  await server.stop({ mode: 'immediate' })
  await server.remove().catch(() => undefined)
  await rm(directory, { recursive: true, force: true, maxRetries: 5 })
}

/** Removes what killed runs have left behind, servers included. */
export async function removeLeftovers(): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    if (!name.startsWith(prefix)) continue
    const directory = join(tmpdir(), name)
    const owner = parseIdentity((await readIfThere(join(directory, 'owner.json'))) ?? '')
    if (owner !== null && !isAlive(owner)) await removeServerDirectory(directory)
  }
}
