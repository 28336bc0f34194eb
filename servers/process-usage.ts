import { readFile } from 'node:fs/promises'

/** What a process has used of the machine. */
export interface ProcessUsage {
  /** What it holds in memory now. */
  readonly residentBytes: number
  /** The most it ever held in memory. */
  readonly peakResidentBytes: number
  /** By all its threads, in user and kernel mode, since it started. */
  readonly cpuSeconds: number
}

/** Clock ticks a second in /proc, a constant of Linux's interface. */
const ticksPerSecond = 100

/** Measures a process that runs, on Linux. Throws elsewhere, or if it does not run. */
export async function usageOf(pid: number): Promise<ProcessUsage> {
  const [status, stat] = await Promise.all([readFile(`/proc/${pid}/status`, 'utf8'), readFile(`/proc/${pid}/stat`, 'utf8')])
  const kilobytes = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0)
  // The name stands in parentheses and may hold anything; user and kernel time are the 12th and 13th field after it.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return {
    residentBytes: kilobytes('VmRSS') * 1_024,
    peakResidentBytes: kilobytes('VmHWM') * 1_024,
    cpuSeconds: (Number(fields[11]) + Number(fields[12])) / ticksPerSecond,
  }
}
