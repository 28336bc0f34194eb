import { type AddressInfo, type Socket, connect, createServer } from 'node:net'

/** A TCP proxy that can lose replies: what the client said arrives, what the server answers does not, and the connection ends. */
export interface LossyProxy {
  readonly port: number
  /** From now on the next connection on which the server answers loses that answer. */
  loseNextReply(): void
  /** Ends every connection. */
  cutAll(): void
  close(): Promise<void>
}

export async function lossyProxy(target: { readonly host: string; readonly port: number }): Promise<LossyProxy> {
  let losing = false
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    const upstream = connect(target)
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.setNoDelay(true)
      socket.on('error', () => undefined)
      socket.on('close', () => {
        sockets.delete(socket)
        client.destroy()
        upstream.destroy()
      })
    }
    client.on('data', (bytes) => upstream.write(bytes))
    upstream.on('data', (bytes) => {
      if (!losing) return void client.write(bytes)
      losing = false
      client.destroy()
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const cutAll = (): void => sockets.forEach((socket) => socket.destroy())
  return {
    port: (server.address() as AddressInfo).port,
    loseNextReply: () => void (losing = true),
    cutAll,
    close: () => {
      cutAll()
      return new Promise((resolve) => server.close(() => resolve()))
    },
  }
}
