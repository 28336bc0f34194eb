import { seeded } from '../../outbox/support/adversary.ts'
import type { ChildProgram } from '../../support/child-program.ts'
import { pause } from './pause.ts'

export interface Freezing {
  readonly seed: number
  /** How long it goes on. */
  readonly forMs: number
  /** Between one freeze and the next, at the most. */
  readonly betweenMs: number
  readonly frozenMs: number
}

/** Freezes one program after the other at a random moment. Resolves with how often. */
export async function freezeInTurns(programs: readonly ChildProgram[], { seed, forMs, betweenMs, frozenMs }: Freezing): Promise<number> {
  const random = seeded(seed)
  let freezes = 0
  for (const end = performance.now() + forMs; performance.now() < end; freezes++) {
    const program = programs[freezes % programs.length]!
    await pause(random() * betweenMs)
    program.signal('SIGSTOP')
    await pause(frozenMs)
    program.signal('SIGCONT')
  }
  return freezes
}
