import type { Operation } from '../operation/index.ts'
import { duration, table } from './table.ts'

/** One line: `running 1,200 of 9,000: 1,100 done, 3 failed`. */
export function progressLine(operation: Operation): string {
  const { state, next, total, planned, frozen, runner } = operation
  if (!frozen) return `${state}: ${total} of about ${planned.count} items written down`
  const waiting = state === 'running' && runner === null ? ' (no process works on it)' : ''
  return `${state}${waiting}: ${next} of ${total}: ${countsText(operation)}`
}

/** `1,100 done, 3 failed`; only what there is. */
export function countsText({ counts }: Operation): string {
  const { done, failed, skipped, started } = counts
  const parts = [
    [done, 'done'],
    [started, 'under way'],
    [failed, 'failed'],
    [skipped, 'left alone'],
  ] as const
  const said = parts.filter(([count]) => count > 0).map(([count, what]) => `${count} ${what}`)
  return said.length === 0 ? 'nothing yet' : said.join(', ')
}

export function operationTable(operations: readonly Operation[], now: number): string {
  const rows = operations.map((operation) => [
    operation.id,
    operation.kind,
    operation.state,
    `${operation.next}/${operation.frozen ? operation.total : `about ${operation.planned.count}`}`,
    countsText(operation),
    operation.actor.id,
    duration(now - operation.createdAt.getTime()),
  ])
  return table(['operation', 'kind', 'state', 'items', 'outcome', 'by', 'age'], rows)
}

/** Everything that is known of it, in lines. */
export function operationText(operation: Operation): string {
  const { id, kind, state, actor, reason, error, settings, planned, createdAt, endedAt } = operation
  const { rate, canary, maxFailures } = settings
  return [
    `${kind} ${id}: ${progressLine(operation)}`,
    `by ${actor.id} at ${createdAt.toISOString()}${reason === null ? '' : `: ${reason}`}`,
    `planned: ${planned.count} items`,
    `pace: ${rate === null ? 'no rate' : `${rate} items/s`}, stages ${canary.map((share) => `${share * 100} %`).join(', ')}, stops above ${maxFailures * 100} % failures`,
    ...(error === null ? [] : [`! ${error}`]),
    ...(endedAt === null ? [] : [`ended ${state} at ${endedAt.toISOString()}`]),
  ].join('\n')
}
