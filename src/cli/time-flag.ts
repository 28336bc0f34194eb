import { UsageError } from './command.ts'

const unitMs: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** A moment, or so long before `now`. */
export function timeOf(name: string, flag: string, now: number): Date {
  const [, count, unit] = /^(\d+)([smhd])$/.exec(flag) ?? []
  if (count !== undefined && unit !== undefined) return new Date(now - Number(count) * unitMs[unit]!)
  const time = /^\d{4}-\d\d-\d\d/.test(flag) ? new Date(flag) : new Date(Number.NaN)
  if (!Number.isNaN(time.getTime())) return time
  throw new UsageError(
    `--${name}: expected a time such as 2026-01-31T12:00Z, or 90m, 12h, 7d for so long ago; got ${JSON.stringify(flag)}.`,
  )
}
