import { renderChart, terminalStyle } from './chart.ts'
import { renderTable } from './table.ts'
import type { BenchDocument } from './result.ts'

/** Prints the outcome of a bench: exactly one JSON document, or a table and a bar chart. */
export function report(document: BenchDocument, json: boolean): void {
  // A reader that has seen enough (`| head`) must not keep the bench from cleaning up.
  process.stdout.on('error', () => undefined)
  if (json) {
    process.stdout.write(`${JSON.stringify(document, null, 2)}\n`)
    return
  }
  const machine = Object.entries(document.machine).map(([name, value]) => `${name} ${String(value)}`)
  process.stdout.write(`\n${document.name}, ${document.date}\n${machine.join(', ')}\n`)
  process.stdout.write(`\n${renderTable(document)}\n\n${renderChart(document.results, terminalStyle())}\n`)
}
