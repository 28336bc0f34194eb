import type { ExecutionSettings } from '../../../src/consumer/batch/execution.ts'
import { systemClock } from '../../../src/internal/clock.ts'

/** An execution by itself: failures that leave nothing behind are not run again. */
export function executionSettings(more: Partial<ExecutionSettings> = {}): ExecutionSettings {
  return {
    group: 'group',
    allowsRaw: true,
    attempt: () => 1,
    run: new AbortController(),
    clock: systemClock,
    timeoutMs: () => 30_000,
    failed: () => 'queue',
    succeeded: () => undefined,
    ...more,
  }
}
