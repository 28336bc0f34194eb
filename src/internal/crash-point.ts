import type { CrashPoint } from './crash-points.ts'

/**
 * Ends or freezes the process between two steps, when a test asks for it by the environment:
 * `TIDEMARK_CRASH_POINT=relay:after-send` kills it there (SIGKILL), `TIDEMARK_FREEZE_POINT=…` stops it (SIGSTOP) until somebody continues it;
 * `relay:after-send:3` means the third time. Does nothing otherwise.
 */
export const crashPoint: (name: CrashPoint) => void = armed() ? hit : () => undefined

/** Is any point of this process armed? Steps that share a round trip are sent apart then, so that a test can stop between them. */
export const crashPointsArmed: boolean = armed()

function armed(): boolean {
  return process.env.TIDEMARK_CRASH_POINT !== undefined || process.env.TIDEMARK_FREEZE_POINT !== undefined
}

// Exists only in a process that a test has armed; counting is what `:nth` needs.
const counts = new Map<string, number>()

function hit(name: CrashPoint): void {
  const count = (counts.get(name) ?? 0) + 1
  counts.set(name, count)
  if (matches(process.env.TIDEMARK_CRASH_POINT, name, count)) process.kill(process.pid, 'SIGKILL')
  if (matches(process.env.TIDEMARK_FREEZE_POINT, name, count)) process.kill(process.pid, 'SIGSTOP')
}

function matches(wanted: string | undefined, name: string, count: number): boolean {
  return wanted === `${name}:${count}` || (wanted === name && count === 1)
}
