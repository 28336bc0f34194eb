import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { removeDatabase } from '../../src/drivers/postgres/embedded/databases.ts'
import type { EmbeddedLease } from '../../src/drivers/postgres/embedded/index.ts'
import { testServer } from '../support/postgres.ts'
import { expectedOutcome } from './oracle.ts'
import { sample, ShopFolder } from './shop-process.ts'

let folder: ShopFolder
beforeAll(async () => {
  folder = await ShopFolder.make()
})
afterAll(() => folder.remove())

describe('the shop with arriving orders', { timeout: 180_000 }, () => {
  test('says where to look inside, says when the input is exhausted, goes on, and stops cleanly on Ctrl-C', async () => {
    const shop = folder.start('--rate', '400', '--limit', '200')
    await shop.untilSaid(/The input is exhausted/)
    shop.signal('SIGINT')
    const { code, stdout, stderr } = await shop.ended
    expect(code).toBe(0)
    expect(stderr).toContain('Ctrl-C again')
    for (const name of ['orders', 'payments', 'inventory', 'shipping', 'insight']) {
      expect(stdout).toMatch(new RegExp(`${name} +postgresql://postgres:\\S+@127\\.0\\.0\\.1:\\d+/shop_${name}\\n`))
    }
  })

  test('goes on at the next start where it was', async () => {
    const shop = folder.start('--rate', '400', '--limit', '300')
    await shop.untilSaid(/The input is exhausted/)
    shop.signal('SIGTERM')
    expect(await shop.ended).toMatchObject({ code: 0 })
    const { stdout } = await folder.run('--once', '--json', '--limit', '300')
    expect(JSON.parse(stdout)).toMatchObject({ ...expectedOutcome(await sample(), { limit: 300 }), deadLetters: 0, ordersPerSecond: 0 })
  })

  test('keeps others from --fresh, and takes part in their --once', async () => {
    const shop = folder.start('--rate', '50', '--limit', '400')
    await shop.untilSaid(/Look inside/)
    const { code, stderr } = await folder.run('--once', '--fresh')
    expect(code).toBe(6)
    expect(stderr).toContain('Nothing was dropped')
    const { stdout } = await folder.run('--once', '--json', '--limit', '350')
    expect(JSON.parse(stdout)).toMatchObject({ ...expectedOutcome(await sample(), { limit: 350 }), deadLetters: 0 })
    shop.signal('SIGINT')
    expect(await shop.ended).toMatchObject({ code: 0 })
  })

  test('goes on by itself after the server was killed', async () => {
    const shop = folder.start('--rate', '100', '--limit', '700')
    await shop.untilSaid(/Look inside/)
    await folder.untilOrders(450)
    await folder.killServer()
    await shop.untilSaid(/The input is exhausted/)
    const { stdout } = await folder.run('--once', '--json', '--limit', '700')
    shop.signal('SIGINT')
    expect(await shop.ended).toMatchObject({ code: 0 })
    expect(JSON.parse(stdout)).toMatchObject({ ...expectedOutcome(await sample(), { limit: 700 }), deadLetters: 0 })
  })

  test('a --once that is interrupted exits with 130, and the next one ends it', async () => {
    const shop = folder.start('--once', '--json', '--limit', '1500')
    await folder.untilOrders(1_000)
    shop.signal('SIGINT')
    const { code, stdout, stderr } = await shop.ended
    expect({ code, stdout }).toEqual({ code: 130, stdout: '' })
    expect(stderr).toContain('goes on from here')
    const ending = await folder.run('--once', '--json', '--limit', '1500')
    expect(JSON.parse(ending.stdout)).toMatchObject({ ...expectedOutcome(await sample(), { limit: 1_500 }), deadLetters: 0 })
  })
})

describe("a server of one's own", () => {
  test('holds the shop as well, and shows no password', async () => {
    const lease = await testServer()
    const url = lease.connectionString('postgres')
    onTestFinished(() => dropShop(lease))
    for (const args of [[], ['--fresh', '--decline-above', '20']]) {
      const { code, stdout, stderr } = await folder.run('--once', '--json', '--limit', '80', '--database', url, ...args)
      expect(code, stderr).toBe(0)
      const declineAboveCents = args.length === 0 ? 15_000 : 2_000
      expect(JSON.parse(stdout)).toMatchObject(expectedOutcome(await sample(), { limit: 80, declineAboveCents }))
    }
    const shop = folder.start('--limit', '80', '--decline-above', '20', '--database', url)
    await shop.untilSaid(/The input is exhausted/)
    shop.signal('SIGINT')
    const { code, stdout, stderr } = await shop.ended
    expect(code).toBe(0)
    expect(stdout).toMatch(/orders +postgresql:\/\/postgres@127\.0\.0\.1:\d+\/shop_orders\n/)
    expect(stdout + stderr).not.toContain(lease.connection('postgres').password)
  })
})

async function dropShop(lease: EmbeddedLease): Promise<void> {
  for (const name of ['orders', 'payments', 'inventory', 'shipping', 'insight', 'log']) {
    await removeDatabase(lease.connection('postgres'), `shop_${name}`)
  }
}

describe('a database that cannot be reached', () => {
  test('is exit code 7, with what was tried and without the password', async () => {
    const { code, stdout, stderr } = await folder.run('--once', '--json', '--database', 'postgresql://me:secret@127.0.0.1:1/postgres')
    expect(code).toBe(7)
    expect(stderr).toContain('127.0.0.1:1')
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'DATABASE_UNREACHABLE', retryable: true } })
    expect(stdout + stderr).not.toContain('secret')
  })
})
