import { randomInt } from 'node:crypto'
import { createServer } from 'node:net'

/**
 * Below the ports that systems hand out by themselves (from 32768 on Linux), so that the port is likely to be free again after a restart.
 * There a client that connects while nobody listens could even meet itself.
 */
const lowest = 20_000
const highest = 32_000

/** The preferred port if it is free on 127.0.0.1 and not among `refused`, else another free one. */
export async function freePort(preferred: number | null, refused: ReadonlySet<number>): Promise<number> {
  if (preferred !== null && !refused.has(preferred) && (await isFree(preferred))) return preferred
  for (let attempt = 0; attempt < 100; attempt++) {
    const port = randomInt(lowest, highest)
    if (!refused.has(port) && (await isFree(port))) return port
  }
  throw new Error(`no free port between ${lowest} and ${highest} on 127.0.0.1`)
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    // Exclusive, or a worker of node:cluster would share a port of its siblings.
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(true)))
  })
}
