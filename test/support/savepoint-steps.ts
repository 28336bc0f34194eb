/**
 * Random work with savepoints, for whoever must keep beside a transaction what a rollback to a savepoint undoes.
 *
 * @module
 */
import fc from 'fast-check'
import type { Transaction } from '../../src/message/transaction.ts'

export interface SavepointStep {
  readonly do: 'publish' | 'savepoint' | 'release' | 'rollback to' | 'fail'
  /** Few, so that savepoints of one name hide each other. */
  readonly name: 'a' | '"B"'
  readonly awaited: boolean
}

const step: fc.Arbitrary<SavepointStep> = fc.record({
  do: fc.oneof(
    { arbitrary: fc.constantFrom('publish' as const), weight: 6 },
    { arbitrary: fc.constantFrom('savepoint' as const), weight: 4 },
    { arbitrary: fc.constantFrom('rollback to' as const), weight: 3 },
    { arbitrary: fc.constantFrom('release' as const, 'fail' as const), weight: 1 },
  ),
  name: fc.constantFrom('a', '"B"'),
  awaited: fc.boolean(),
})

/** A savepoint of each name stands first, so that most transactions can go on after a failure. */
export const savepointSteps: fc.Arbitrary<readonly SavepointStep[]> = fc
  .array(step, { minLength: 4, maxLength: 16 })
  .map((steps) => [{ do: 'savepoint', name: 'a', awaited: true }, { do: 'savepoint', name: '"B"', awaited: false }, ...steps])

/** Takes the steps; `publish` gets an id for each, and makes a row beside. What fails is passed over, as by somebody who guards it by savepoints. */
export async function runSteps(
  steps: readonly SavepointStep[],
  tx: Transaction,
  label: string,
  publish: (id: string) => Promise<unknown>,
): Promise<void> {
  for (const [n, { do: what, name, awaited }] of steps.entries()) {
    const done = what === 'publish' ? publish(`${label}.${n}`) : tx.query(what === 'fail' ? 'select 1/0' : `${what} ${name}`)
    const settled = done.catch(() => undefined)
    if (awaited) await settled
  }
}
