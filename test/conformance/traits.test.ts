import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { memoryBroker } from '../../src/drivers/memory/index.ts'
import { postgresBroker } from '../../src/drivers/postgres/index.ts'

test('the table of traits in the docs is what the drivers say', async () => {
  const page = await readFile(new URL('../../docs/drivers/brokers.md', import.meta.url), 'utf8')
  const rows = [...page.matchAll(/^\| `(\w+)` +\| (\S+) +\| (\S+) +\|/gm)].map(([, trait, memory, postgres]) => [trait, memory, postgres])
  const shown = (value: boolean | number): string => (typeof value === 'number' ? value.toLocaleString('en') : value ? 'yes' : 'no')
  const memory = memoryBroker().traits
  const postgres = postgresBroker({ connectionString: 'postgres://nowhere' }).traits
  const expected = Object.entries(memory).map(([trait, value]) => [trait, shown(value), shown(postgres[trait as keyof typeof postgres])])
  expect(rows.filter(([trait]) => trait! in memory).sort()).toEqual(expected.sort())
})
