/** Lines with aligned columns: the first one to the left, all others to the right. */
export function alignColumns(rows: readonly (readonly string[])[]): readonly string[] {
  const widths = rows.reduce<number[]>((all, row) => row.map((cell, i) => Math.max(all[i] ?? 0, cell.length)), [])
  return rows.map((row) =>
    row
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]! + 2)))
      .join('')
      .trimEnd(),
  )
}

/** `1234567` as `1,234,567`. */
export function withCommas(value: number): string {
  return value.toLocaleString('en-US')
}
