import type { LeaderRun } from '../../message/port.ts'
import type { LogPlace } from '../port.ts'

/** Which leaders wrote what was read of a partition of late. Replaced, never changed, so that a batch under way keeps the one it began with. */
export type Leaders = readonly LeaderRun[]

export const noLeaders: Leaders = []

/** What a stored place says of the log. */
export function leadersOf({ offset, leaderEpoch }: LogPlace): Leaders {
  return leaderEpoch === null ? noLeaders : [{ leaderEpoch, from: offset - 1, to: offset }]
}

/**
 * The epoch of the leader that wrote the record before `offset`, `null` if that was not seen. In the gap that compaction leaves between two leaders it
 * is not known which of them wrote there; to take either would be an error that the broker takes for a truncated log.
 */
export function leaderBefore(leaders: Leaders, offset: number): number | null {
  for (let i = leaders.length - 1; i >= 0; i--) {
    const { leaderEpoch, from, to } = leaders[i]!
    if (from < offset) return offset <= to ? leaderEpoch : null
  }
  return null
}

/** Both, the second being what was read next. What ends at `settled` or before is left out, since no place there will be asked for. */
export function joined(leaders: Leaders, next: Leaders, settled: number): Leaders {
  if (next.length === 0) return leaders
  const runs: LeaderRun[] = []
  for (const run of [...leaders, ...next]) {
    const last = runs.at(-1)
    // Epochs never fall along a log: whatever compaction took between two runs of one leader was its own.
    if (last?.leaderEpoch === run.leaderEpoch) runs[runs.length - 1] = { ...last, to: Math.max(last.to, run.to) }
    else runs.push(run)
  }
  return runs.filter(({ to }, i) => to > settled || i === runs.length - 1)
}

/** A place passed as handled, although a later leader than it knows of has written before it: not what was handled stands there now. */
export function contradiction(leaders: Leaders, { offset, leaderEpoch }: LogPlace): LeaderRun | null {
  if (leaderEpoch === null) return null
  return leaders.find((run) => run.from < offset && run.leaderEpoch > leaderEpoch) ?? null
}
