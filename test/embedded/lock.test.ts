import { mkdir, readFile, readdir, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { withLock } from '../../src/drivers/postgres/embedded/lock.ts'
import { isAlive, thisProcess } from '../../src/drivers/postgres/embedded/process-identity.ts'
import { until } from '../support/until.ts'
import { serverDirectory, startUser } from './processes.ts'

async function lockHeldBy(content: string): Promise<string> {
  const lock = join(await serverDirectory(), 'lock')
  await mkdir(lock)
  await writeFile(join(lock, '7'), content)
  return lock
}

async function deadPid(): Promise<number> {
  const user = startUser('unused')
  await user.kill()
  return user.pid
}

test('the lock of a dead process is taken over', async () => {
  const lock = await lockHeldBy(JSON.stringify({ ...thisProcess(), pid: await deadPid() }))
  expect(await withLock(lock, 1_000, async () => 'held')).toBe('held')
})

test('the lock of a dead process whose pid was given to another one is taken over', async () => {
  const reused = { pid: process.pid, startedAt: 'an earlier boot:12345' }
  expect(isAlive(reused)).toBe(false)
  const lock = await lockHeldBy(JSON.stringify(reused))
  expect(await withLock(lock, 1_000, async () => 'held')).toBe('held')
})

test('a lock whose maker was killed before it wrote its name is taken over after a while, not at once', async () => {
  const lock = await lockHeldBy('{"pid":')
  await expect(withLock(lock, 100, async () => 'held')).rejects.toMatchObject({ code: 'EMBEDDED_FAILED' })
  await utimes(join(lock, '7'), new Date(), new Date(Date.now() - 5_000))
  expect(await withLock(lock, 1_000, async () => 'held')).toBe('held')
})

test('the lock of a living process is waited for, and the error names the process', async () => {
  const lock = await lockHeldBy(JSON.stringify(thisProcess()))
  await expect(withLock(lock, 200, async () => 'held')).rejects.toThrow(`running process ${process.pid}`)
  await writeFile(join(lock, '7.released'), '')
  expect(await withLock(lock, 1_000, async () => 'held')).toBe('held')
})

test('the lock is free again after work that fails, and old files are cleared away', async () => {
  const lock = join(await serverDirectory(), 'lock')
  for (let turn = 0; turn < 40; turn++) {
    await expect(withLock(lock, 1_000, () => Promise.reject(new Error('work failed')))).rejects.toThrow('work failed')
  }
  expect((await readdir(lock)).length).toBeLessThan(40)
})

test('processes that are killed while they hold the lock, and others that break it at once, never hold it together', async () => {
  const directory = await serverDirectory()
  const [lock, journal] = [join(directory, 'lock'), join(directory, 'journal')]
  const begin = (times: number): ReturnType<typeof startUser> => {
    const user = startUser('unused')
    user.run(`lock ${JSON.stringify({ lock, journal, times, holdMs: 4 })}`).catch(() => undefined)
    return user
  }
  const steady = Array.from({ length: 3 }, () => startUser('unused'))
  const done = Promise.all(steady.map((user) => user.run(`lock ${JSON.stringify({ lock, journal, times: 40, holdMs: 4 })}`)))
  const killed = new Set<string>()
  for (let victim = 0; victim < 5; victim++) {
    const user = begin(1_000)
    await until('it to have held the lock', async () => (await readFile(journal, 'utf8').catch(() => '')).includes(` ${user.pid}.2`))
    await user.kill()
    killed.add(String(user.pid))
  }
  await done
  let holder: string | null = null
  for (const line of (await readFile(journal, 'utf8')).trim().split('\n')) {
    const [what, note = ''] = line.split(' ')
    if (what === 'enter') {
      expect(holder === null || killed.has(holder.split('.')[0] ?? ''), `${note} entered while ${holder} was inside`).toBe(true)
      holder = note
    } else {
      expect(note).toBe(holder)
      holder = null
    }
  }
})
