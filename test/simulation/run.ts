/**
 * Runs schedules of the simulation: `node --import tsx --conditions=tidemark-source test/simulation/run.ts --seeds 1000 [--from 1] [--trace]`.
 * Ends with 1, the seed and the last lines of the trace when a promise was broken.
 *
 * @module
 */
import { parseArgs } from 'node:util'
import { simulate } from '../../src/testing/index.ts'

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1000' },
    from: { type: 'string', default: '1' },
    trace: { type: 'boolean', default: false },
  },
})
const first = Number(values.from)
const started = performance.now()
let messages = 0
let events = 0
for (let seed = first; seed < first + Number(values.seeds); seed++) {
  const result = await simulate(seed)
  messages += result.messages
  events += result.trace.length
  if (result.violation === null) continue
  console.error(values.trace ? result.trace.join('\n') : result.trace.slice(-80).join('\n'))
  console.error(`seed ${seed}: ${result.violation}`)
  console.error(`again, with all of its ${result.trace.length} lines: test/simulation/run.ts --from ${seed} --seeds 1 --trace`)
  process.exitCode = 1
  break
}
console.log(`${messages} messages, ${events} calls, ${((performance.now() - started) / 1000).toFixed(1)} s`)
