/**
 * One schedule, or many, from the command line:
 *
 *   node --import tsx --conditions=tidemark-source test/drivers/kafka/group-simulation/run.ts classic 17        # the trace of seed 17
 *   node --import tsx --conditions=tidemark-source test/drivers/kafka/group-simulation/run.ts consumer 1 5000   # 5,000 seeds from 1 on
 */
import { simulateGroup } from './simulate-group.ts'

const [protocol = 'classic', from = '1', count] = process.argv.slice(2)
if (protocol !== 'classic' && protocol !== 'consumer') throw new Error(`The protocol is classic or consumer, not ${protocol}.`)
const first = Number(from)
for (let seed = first; seed < first + Number(count ?? 1); seed++) {
  const { violation, trace } = simulateGroup(protocol, seed, count === undefined)
  if (count === undefined) process.stdout.write(`${trace.join('\n')}\n`)
  if (violation !== null) process.stdout.write(`seed ${seed}: ${violation}\n`)
}
