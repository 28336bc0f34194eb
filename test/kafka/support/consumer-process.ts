/**
 * Consumers on Kafka in a process of their own, to be killed: `consumer-process.ts <settings as JSON>`. See `start-consumers.ts`.
 *
 * @module
 */
import { createInterface } from 'node:readline'
import { subscribe } from 'node:diagnostics_channel'
import { type ConsumerSettings, runConsumers } from './make-consumer.ts'

subscribe('tidemark:consumer:ownership', (event) => console.log((event as { what: string }).what))
subscribe('tidemark:consumer:trouble', (event) => console.error(JSON.stringify(event)))

const { consumers } = runConsumers(JSON.parse(process.argv[2]!) as ConsumerSettings)

// An end of the input says that whoever started it is gone: nothing may be left running.
const commands = createInterface({ input: process.stdin }).on('close', () => process.exit(0))
commands.on('line', (line) => {
  if (line.startsWith('lanes ')) for (const consumer of consumers) consumer.changeLanes(Number(line.slice(6)))
})
