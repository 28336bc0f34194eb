import type { BenchDocument, Result } from './result.ts'

/** The document for people: all figures, one line each, then the ratios. */
export function renderTable(document: BenchDocument): string {
  const header = ['metric', 'system', 'median', 'min', 'max', 'unit', 'runs']
  const rows = byMetric(document.results).map((result) => [
    result.metric,
    `${result.system} ${result.version}`,
    number(result.median),
    number(result.min),
    number(result.max),
    result.unit,
    String(result.runs),
  ])
  const widths = header.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)))
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) => (column >= 2 && column <= 4 ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0)))
      .join('  ')
      .trimEnd()
  const ratios = Object.entries(document.ratios).map(([name, value]) => `${name} = ${value}`)
  return [line(header), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line), '', ...ratios].join('\n')
}

/** Grouped by metric, in the order of first appearance. */
export function byMetric(results: readonly Result[]): Result[] {
  const metrics = [...new Set(results.map((result) => result.metric))]
  return metrics.flatMap((metric) => results.filter((result) => result.metric === metric))
}

export function number(value: number): string {
  return value.toLocaleString('en-US', { maximumFractionDigits: Math.abs(value) >= 100 ? 0 : 2 })
}
