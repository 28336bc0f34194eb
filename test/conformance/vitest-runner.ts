import { test } from 'vitest'
import type { Runner } from '../../src/conformance/case.ts'

/** One case after the other, also where several subjects are tried side by side. */
export const vitestRunner: Runner = {
  test: (name, run) => test(name, { concurrent: false }, run),
  skip: (name, reason) => test.skip(`${name} (${reason})`, { concurrent: false }, () => undefined),
}
