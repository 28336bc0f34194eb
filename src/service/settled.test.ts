import { describe, expect, test } from 'vitest'
import { type Flow, settled } from './settled.ts'

const busy: Flow = { quiet: false, mark: '', waiting: '3 messages in the outbox' }

describe('settled', () => {
  test('rejects with the reason of the signal, also when the time is over at the same moment', async () => {
    const controller = new AbortController()
    const shop = {
      name: 'shop',
      flow: () => {
        controller.abort()
        return Promise.resolve(busy)
      },
    }
    await expect(settled([shop], { timeoutMs: 0, signal: controller.signal })).rejects.toMatchObject({ name: 'AbortError' })
  })

  test('tells how long it really waited, and for what', async () => {
    const slow = { name: 'shop', flow: () => new Promise<Flow>((resolve) => setTimeout(resolve, 120, busy)) }
    const failure: unknown = await settled([slow], { timeoutMs: 1 }).catch((error: unknown) => error)
    expect(failure).toMatchObject({ code: 'SETTLE_TIMEOUT', message: expect.stringContaining('shop: 3 messages in the outbox') as string })
    expect(Number(/after (\d+) ms/.exec(String(failure))?.[1])).toBeGreaterThanOrEqual(115)
  })
})
