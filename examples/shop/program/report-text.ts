import { formatDollars } from '../input/dollars.ts'
import { alignColumns, withCommas } from './columns.ts'
import type { Report } from './report.ts'

/** The report for people. */
export function reportText(report: Report): string {
  const rows = (
    [
      ['placed', report.placed],
      ['declined', report.declined],
      ['out of stock', report.outOfStock],
      ['fulfilled', report.fulfilled],
      ['refunded', report.refunded],
    ] as const
  ).map(([name, { orders, units, cents }]) => [name, withCommas(orders), withCommas(units), formatDollars(cents)])
  return `${[
    ...alignColumns([['', 'orders', 'CDs', 'dollars'], ...rows]),
    '',
    `${withCommas(report.customers)} customers on ${withCommas(report.days)} days`,
    `${withCommas(report.deadLetters)} dead letters, ${withCommas(report.duplicatesSuppressed)} duplicates suppressed`,
    `${report.seconds} seconds, ${withCommas(report.ordersPerSecond)} new orders a second`,
  ].join('\n')}\n`
}
