/** Counts for every broken store in how many schedules it is found: `node --import tsx --conditions=tidemark-source test/simulation/count.ts --seeds 300`. */
import { parseArgs } from 'node:util'
import { simulate } from '../../src/testing/index.ts'
import { brokenStores } from './broken-stores.ts'

const { values } = parseArgs({ options: { seeds: { type: 'string', default: '300' }, only: { type: 'string' } } })
const only = values.only
for (const { without, broken, plan = {} } of brokenStores) {
  if (only !== undefined && !without.includes(only)) continue
  const found: string[] = []
  let first: number | null = null
  for (let seed = 1; seed <= Number(values.seeds); seed++) {
    const { violation } = await simulate(seed, { broken, plan })
    if (violation === null) continue
    first ??= seed
    found.push(violation)
  }
  console.log(`${without}: first by seed ${first ?? 'none'}, by ${found.length} of ${values.seeds}; ${found[0] ?? ''}`)
}
