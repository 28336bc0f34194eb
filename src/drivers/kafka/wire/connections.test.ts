import { once } from 'node:events'
import { type AddressInfo, type Server, type Socket, createServer } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { systemClock } from '../../../internal/clock.ts'
import { apiVersionsV3 } from '../client.ts'
import { Connections } from './connections.ts'
import type { Node } from './node.ts'

const connections = new Connections({ clientId: 'test', connectTimeoutMs: 1_000, tls: undefined, sasl: undefined }, 1_000, systemClock)
const servers: Server[] = []
const unhandled: unknown[] = []
const note = (error: unknown): void => void unhandled.push(error)

afterEach(async () => {
  await connections.close()
  for (const server of servers) server.close()
})

/** A server that takes connections and says nothing. */
async function silentNode(): Promise<{ node: Node; server: Server; sockets: Socket[] }> {
  const sockets: Socket[] = []
  const server = createServer((socket) => void sockets.push(socket.on('error', () => undefined)))
  servers.push(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { node: { id: 1, host: '127.0.0.1', port: (server.address() as AddressInfo).port }, server, sockets }
}

test('a connection that ends after its successor was begun takes nothing of it with it', async () => {
  process.on('unhandledRejection', note)
  const { node, server, sockets } = await silentNode()
  const ask = (timeoutMs: number) => connections.call(node, apiVersionsV3.api, ['test', '1'], { timeoutMs })
  const first = ask(300)
  const refused = first.catch(() => {
    // Whatever connects from now on is refused; the first connection is not closed yet.
    server.close()
    return ask(300)
  })
  await expect(refused).rejects.toMatchObject({ code: 'BROKER_UNREACHABLE', message: expect.stringContaining('ECONNREFUSED') })
  expect(sockets).toHaveLength(1)
  await new Promise((resolve) => setImmediate(resolve))
  process.off('unhandledRejection', note)
  expect(unhandled).toEqual([])
})
