/**
 * Runs schedules of the simulation: `node --import tsx --conditions=tidemark-source test/simulation/run.ts --seeds 1000 [--from 1] [--trace] [--plan '{…}']`.
 * Where a promise is broken it looks for the least trouble that breaks it by the same seed, prints the last lines of that trace and how to run it again,
 * and ends with 1.
 *
 * @module
 */
import { parseArgs } from 'node:util'
import { type SimulationOptions, shrink, simulate } from '../../src/testing/index.ts'

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1000' },
    from: { type: 'string', default: '1' },
    trace: { type: 'boolean', default: false },
    plan: { type: 'string' },
  },
})
const options: SimulationOptions = values.plan === undefined ? {} : { plan: JSON.parse(values.plan) as SimulationOptions['plan'] & object }
const first = Number(values.from)
const started = performance.now()
const totals = new Map<string, number>()
const showsProgress = process.stderr.isTTY && !values.trace
let messages = 0
let calls = 0
for (let seed = first; seed < first + Number(values.seeds); seed++) {
  if (showsProgress) process.stderr.write(`\r${seed - first} of ${values.seeds}`)
  const result = await simulate(seed, options)
  messages += result.messages
  calls += result.trace.length
  for (const [what, count] of Object.entries(result.coverage)) totals.set(what, (totals.get(what) ?? 0) + count)
  if (result.violation === null) continue
  const least = values.trace ? result : await shrink(result, options)
  console.error(values.trace ? least.trace.join('\n') : least.trace.slice(-80).join('\n'))
  console.error(`seed ${seed}: ${result.violation}`)
  if (least !== result) console.error(`shrunk from ${result.messages} messages to ${least.messages}: ${least.violation}`)
  console.error(`again, with all of its ${least.trace.length} lines:`)
  console.error(`npm run simulate -- --from ${seed} --seeds 1 --trace --plan '${JSON.stringify(least.plan)}'`)
  process.exitCode = 1
  break
}
if (showsProgress) process.stderr.write('\r\x1b[K')
console.log([...totals].map(([what, count]) => `${what}: ${count}`).join(', '))
console.log(`${messages} messages, ${calls} calls, ${((performance.now() - started) / 1000).toFixed(1)} s`)
