import type { Fetched } from '../../message/port.ts'

/** Timers of most platforms end at 24 days, and clocks are set: nobody waits for longer without looking again. */
const longestWaitMs = 60_000

/** What was read of a retry topic, cut at the first record that is not due. */
export interface Due {
  readonly due: Fetched
  /** What is left of it, and when it is to be cut again; `null`: nothing. */
  readonly later: { readonly from: number; readonly found: Fetched; readonly inMs: number } | null
}

/**
 * A record of a retry topic is due when it has been in the log for the topic's pause. All records of a topic wait equally long, so they come due in the
 * order of the log, and the first that is not holds up none that is.
 */
export function cutAtDue(found: Fetched, delayMs: number, now: number): Due {
  const first = found.records.findIndex(({ timestamp }) => timestamp + delayMs > now)
  if (first === -1) return { due: found, later: null }
  const { offset, timestamp } = found.records[first]!
  const { before, after } = cutLeaders(found, offset)
  const due: Fetched = { ...found, records: found.records.slice(0, first), nextOffset: offset, ...before }
  const inMs = Math.min(timestamp + delayMs - now, longestWaitMs)
  return { due, later: { from: offset, found: { ...found, records: found.records.slice(first), ...after }, inMs } }
}

/** Told whole at each cut, the runs would add up. */
function cutLeaders({ leaders }: Fetched, offset: number): Record<'before' | 'after', Pick<Fetched, 'leaders'>> {
  if (leaders === undefined) return { before: {}, after: {} }
  const before = leaders.filter(({ from }) => from < offset).map((run) => ({ ...run, to: Math.min(run.to, offset) }))
  return { before: { leaders: before }, after: { leaders: leaders.filter(({ to }) => to > offset) } }
}
