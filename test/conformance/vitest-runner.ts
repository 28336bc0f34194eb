import { test } from 'vitest'
import type { Runner } from '../../src/conformance/case.ts'

export const vitestRunner: Runner = {
  test: (name, run) => test(name, run),
  skip: (name, reason) => test.skip(`${name} (${reason})`),
}
