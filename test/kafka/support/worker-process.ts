/**
 * A process of a service on Kafka, to be killed and frozen: `worker-process.ts <settings as JSON>`. See `start-worker.ts`.
 *
 * @module
 */
import { createInterface } from 'node:readline'
import { subscribe } from 'node:diagnostics_channel'
import { makeWorker } from './make-worker.ts'
import { publishChanges } from './publish-changes.ts'
import type { WorkerSettings } from './start-worker.ts'

const settings = JSON.parse(process.argv[2]!) as WorkerSettings
const { aggregate, publishes, waitsAt } = settings

let goOn: () => void = () => undefined
const told = new Promise<void>((resolve) => (goOn = resolve))

const worker = makeWorker(settings, async ({ key, n }, tx) => {
  if (waitsAt?.key !== key || waitsAt.n !== n) return
  // Its transaction has begun at the server.
  await tx.query('select 1')
  console.log('handling')
  await told
})

subscribe('tidemark:consumer:ownership', (event) => console.log((event as { what: string }).what))
subscribe('tidemark:consumer:trouble', (event) => console.error(JSON.stringify(event)))

await worker.service.start()
worker.service.done.catch((error: unknown) => {
  console.error(String(error))
  process.exit(3)
})
console.log('started')

let publishing = true
const published = publishes === undefined ? null : publishChanges(worker.service, aggregate, publishes, () => publishing)

async function stop(): Promise<void> {
  await worker.stop()
  process.exit()
}

process.on('SIGTERM', () => void stop())
// An end of the input says that whoever started it is gone: nothing may be left running.
const commands = createInterface({ input: process.stdin }).on('close', () => process.exit(0))
commands.on('line', (line) => {
  if (line === 'stop') void stop()
  if (line === 'go on') goOn()
  if (line === 'quiet') {
    publishing = false
    void published?.then((count) => console.log(`published ${count}`))
  }
})
