import { once } from 'node:events'
import { type AddressInfo, type Socket, createServer } from 'node:net'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { systemClock } from '../../../internal/clock.ts'
import { apiVersionsV3 } from '../client.ts'
import { Connections } from './connections.ts'

/** Answers to a log-in by PLAIN: to the handshake, then "welcome, for a second". */
const logIn = ['000000000001' + '0005504c41494e', '00' + '0000' + '00' + '01' + '00000000000003e8' + '00']
/** "None", to who asks for the versions. */
const noVersions = '0000' + '01' + '00000000' + '00'

const sasl = { mechanism: 'PLAIN', username: 'u', password: 'p' } as const
const sockets: Socket[] = []
let passedMs = 0
const clock = { ...systemClock, elapsed: () => passedMs }
let greet: (socket: Socket) => void
let server: ReturnType<typeof createServer>
let connections: Connections

beforeEach(async () => {
  server = createServer((socket) => {
    sockets.push(socket.on('error', () => undefined))
    greet(socket)
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  connections = new Connections({ clientId: 'test', connectTimeoutMs: 1_000, tls: undefined, sasl }, 1_000, clock)
})
afterEach(async () => {
  await connections.close()
  for (const socket of sockets.splice(0)) socket.destroy()
  server.close()
})

function ask(timeoutMs = 1_000): Promise<{ readonly errorCode: number }> {
  const to = { id: 1, host: '127.0.0.1', port: (server.address() as AddressInfo).port }
  return connections.call(to, apiVersionsV3.api, ['test', '1'], { timeoutMs })
}

/** Lets a client in that asks to. When what it asks then is answered is up to `asked`. */
function welcome(socket: Socket, asked: (answer: () => void) => void): void {
  const answers = [...logIn]
  socket.on('data', (request) => {
    const reply = (hex: string): void => {
      const content = Buffer.concat([request.subarray(8, 12), Buffer.from(hex, 'hex')])
      const size = Buffer.alloc(4)
      size.writeInt32BE(content.length)
      socket.write(Buffer.concat([size, content]))
    }
    const answer = answers.shift()
    if (answer === undefined) asked(() => reply(noVersions))
    else reply(answer)
  })
}

test('a connection that is granted for a time is replaced before that is over, and ends with the last reply it owes', async () => {
  const owed: (() => void)[] = []
  greet = (socket) => welcome(socket, (answer) => void owed.push(answer))
  const first = ask()
  await vi.waitUntil(() => owed.length === 1)
  passedMs += 800
  const second = ask()
  await vi.waitUntil(() => owed.length === 2)
  expect(sockets).toHaveLength(1)
  passedMs += 100
  const third = ask()
  await vi.waitUntil(() => owed.length === 3)
  expect(sockets).toHaveLength(2)
  const ended = once(sockets[0]!, 'close')
  for (const answer of owed) answer()
  for (const reply of await Promise.all([first, second, third])) expect(reply.errorCode).toBe(0)
  await ended
  expect(sockets[1]!.destroyed).toBe(false)
})

test('a connection that ends after its successor was begun takes nothing of it with it', async () => {
  const unhandled: unknown[] = []
  const note = (error: unknown): void => void unhandled.push(error)
  process.on('unhandledRejection', note)
  greet = (socket) => welcome(socket, () => undefined)
  // The reply does not come, so the connection is given up; before it has ended the next one is begun, which breaks during its log-in.
  const second = ask(100).catch(() => {
    greet = (socket) => socket.once('data', () => setTimeout(() => socket.destroy(), 50))
    return ask(500)
  })
  await expect(second).rejects.toMatchObject({ code: 'BROKER_UNREACHABLE', message: expect.stringContaining('could not be reached') })
  expect(sockets).toHaveLength(2)
  await new Promise((resolve) => setTimeout(resolve, 20))
  process.off('unhandledRejection', note)
  expect(unhandled).toEqual([])
})
