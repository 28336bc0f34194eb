import { once } from 'node:events'
import { type AddressInfo, type Socket, createServer } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { systemClock } from '../../../internal/clock.ts'
import { apiVersionsV3 } from '../client.ts'
import { Connections } from './connections.ts'

const sasl = { mechanism: 'PLAIN', username: 'u', password: 'p' } as const
const connections = new Connections({ clientId: 'test', connectTimeoutMs: 1_000, tls: undefined, sasl }, 1_000, systemClock)
/** Answers to a log-in by PLAIN, after the four bytes of the correlation: a handshake, then "welcome, without a limit". */
const logIn = [
  Buffer.from('000000000001' + '0005504c41494e', 'hex'),
  Buffer.from('00' + '0000' + '00' + '01' + '0000000000000000' + '00', 'hex'),
]
const sockets: Socket[] = []
const server = createServer((socket) => void sockets.push(socket.on('error', () => undefined)))

afterEach(async () => {
  await connections.close()
  server.close()
})

/** Lets a client in that asks to, and says nothing more. */
function welcome(socket: Socket): void {
  const answers = [...logIn]
  socket.on('data', (request) => {
    const answer = answers.shift()
    if (answer === undefined) return
    const correlation = request.subarray(8, 12)
    const size = Buffer.alloc(4)
    size.writeInt32BE(correlation.length + answer.length)
    socket.write(Buffer.concat([size, correlation, answer]))
  })
}

test('a connection that ends after its successor was begun takes nothing of it with it', async () => {
  const unhandled: unknown[] = []
  const note = (error: unknown): void => void unhandled.push(error)
  process.on('unhandledRejection', note)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  server.once('connection', welcome)
  const node = { id: 1, host: '127.0.0.1', port: (server.address() as AddressInfo).port }
  const ask = (timeoutMs: number) => connections.call(node, apiVersionsV3.api, ['test', '1'], { timeoutMs })
  // The reply does not come, so the connection is given up; before it has ended the next one is begun, which breaks during its log-in.
  const second = ask(100).catch(() => {
    server.once('connection', (socket) => socket.once('data', () => setTimeout(() => socket.destroy(), 50)))
    return ask(500)
  })
  await expect(second).rejects.toMatchObject({ code: 'BROKER_UNREACHABLE', message: expect.stringContaining('could not be reached') })
  expect(sockets).toHaveLength(2)
  await new Promise((resolve) => setTimeout(resolve, 20))
  process.off('unhandledRejection', note)
  expect(unhandled).toEqual([])
})
