import { readFileSync, readdirSync } from 'node:fs'

/** Linux reports CPU time in hundredths of a second to all programs, whatever the kernel's own tick is. */
const ticksPerSecond = 100

/**
 * CPU seconds a Postgres server has used up to now: the server process, its living children, and those it has already waited for.
 * `null` where there is no /proc.
 */
export function serverCpuSeconds(processId: number): number | null {
  const server = readStat(processId)
  if (server === null) return null
  const children = allProcessIds()
    .map(readStat)
    .filter((stat) => stat?.parent === processId)
  const ticks = children.reduce((sum, child) => sum + (child?.own ?? 0), server.own + server.ended)
  return ticks / ticksPerSecond
}

interface Stat {
  readonly parent: number
  /** Ticks in user and kernel mode. */
  readonly own: number
  /** The same of children that ended and were waited for. */
  readonly ended: number
}

function readStat(processId: number): Stat | null {
  try {
    const line = readFileSync(`/proc/${processId}/stat`, 'utf8')
    // The second field is the name in parentheses and may hold blanks; the third field follows the last parenthesis.
    const fields = line.slice(line.lastIndexOf(')') + 2).split(' ')
    const field = (number: number): number => Number(fields[number - 3])
    return { parent: field(4), own: field(14) + field(15), ended: field(16) + field(17) }
  } catch {
    return null
  }
}

function allProcessIds(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
}

/** CPU seconds of all children of this process that have ended; not a number where there is no /proc. */
export function endedChildrenCpuSeconds(): number {
  return (readStat(process.pid)?.ended ?? Number.NaN) / ticksPerSecond
}
