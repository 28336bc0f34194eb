import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { type KeptKafka, keptKafka } from '../../servers/kept-kafka.ts'
import { nodesSeenBy } from '../../servers/nodes-seen.ts'
import { isAlive } from '../../src/drivers/postgres/embedded/process-identity.ts'
import { endsWithin, signal } from '../../src/drivers/postgres/embedded/stop.ts'
import { ownKafkaAvailable } from '../support/kafka.ts'
import { until } from '../support/until.ts'

const folder = await mkdtemp(join(tmpdir(), 'tidemark-kept-kafka-'))
await chmod(folder, 0o755)
const said: string[] = []
const kept = keptKafka({ directory: join(folder, 'kafka'), watchMs: 50, say: (line) => void said.push(line) })
afterAll(async () => {
  await kept.remove()
  await rm(folder, { recursive: true })
})

async function killed(kafka: KeptKafka): Promise<void> {
  const broker = (await kafka.broker())!
  signal(broker, 'SIGKILL')
  await endsWithin(broker, 10_000)
}

const answers = async (address: string): Promise<boolean> => {
  const seen = await nodesSeenBy('127.0.0.1', Number(address.split(':')[1])).catch(() => [])
  return seen.length === 1
}

describe.skipIf(ownKafkaAvailable.missing)(`a broker that is kept between runs${ownKafkaAvailable.note}`, { timeout: 180_000 }, () => {
  let port = 0

  test('is started again by its users, on the same port, and stopped by the last of them', async () => {
    // One killed while it starts is not the end of the start.
    const starting = Promise.all([kept.acquire(), kept.acquire()])
    await until('it is starting', async () => (await kept.broker()) !== null, 60_000)
    await killed(kept)
    const [one, other] = await starting
    expect(one.brokers).toEqual(other.brokers)
    port = Number(one.brokers[0]!.split(':')[1])

    // Nobody knows the first one any more, and it holds the data.
    const unknown = (await kept.broker())!
    await rm(join(kept.directory, 'broker.json'))
    await until('another one answers', async () => (await kept.broker()) !== null && answers(one.brokers[0]!), 120_000)
    expect(isAlive(unknown)).toBe(false)

    await killed(kept)
    await until('it answers again', () => answers(one.brokers[0]!), 120_000)
    expect(said.filter((line) => line.includes('it is started again'))).not.toEqual([])

    await one.release()
    expect(await answers(other.brokers[0]!)).toBe(true)
    const broker = (await kept.broker())!
    await other.release()
    expect(isAlive(broker)).toBe(false)
  })

  test('takes another port when its own is taken while nobody uses it', async () => {
    const squatter = createServer().listen(port, '127.0.0.1')
    await once(squatter, 'listening')
    try {
      const lease = await kept.acquire()
      expect(lease.brokers).not.toEqual([`127.0.0.1:${port}`])
      expect(await answers(lease.brokers[0]!)).toBe(true)
      await lease.release()
    } finally {
      squatter.close()
    }
  })
})
