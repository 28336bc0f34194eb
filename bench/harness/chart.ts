import { byMetric, number } from './table.ts'
import type { Result } from './result.ts'

export interface ChartStyle {
  /** Width of the longest bar, in columns. */
  readonly width: number
  /** Eighths of a column by Unicode block elements; else whole columns of `#`. */
  readonly unicode: boolean
}

/** Bars for each metric, the longest for the largest median; `|--|` behind a bar is left to the table's min and max. */
export function renderChart(results: readonly Result[], style: ChartStyle): string {
  const lines: string[] = []
  let metric = ''
  for (const result of byMetric(results)) {
    const same = results.filter((other) => other.metric === result.metric)
    if (result.metric !== metric) {
      metric = result.metric
      lines.push('', `${metric} (${result.unit})`)
    }
    const longest = Math.max(...same.map((other) => other.median))
    const names = Math.max(...same.map((other) => other.system.length))
    const length = longest > 0 ? (result.median / longest) * style.width : 0
    lines.push(`  ${result.system.padEnd(names)}  ${bar(length, style.unicode)} ${number(result.median)}`)
  }
  return lines.slice(1).join('\n')
}

const eighths = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉']

/** A bar of a length in columns. A value above zero always shows something. */
export function bar(length: number, unicode: boolean): string {
  if (!unicode) return '#'.repeat(Math.max(length > 0 ? 1 : 0, Math.round(length)))
  const parts = Math.max(length > 0 ? 1 : 0, Math.round(length * 8))
  return '█'.repeat(Math.floor(parts / 8)) + (eighths[parts % 8] ?? '')
}

/** The style the terminal behind stdout can show. */
export function terminalStyle(
  environment: NodeJS.ProcessEnv = process.env,
  columns: number | undefined = process.stdout.columns,
): ChartStyle {
  const locale = environment['LC_ALL'] || environment['LC_CTYPE'] || environment['LANG'] || ''
  const unicode = /utf-?8/i.test(locale) || process.platform === 'darwin' || environment['WT_SESSION'] !== undefined
  return { width: Math.max(10, Math.min(60, (columns ?? 100) - 45)), unicode }
}
