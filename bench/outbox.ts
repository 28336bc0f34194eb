/**
 * `npm run bench -- outbox`: what an event costs its transaction, how fast the relay empties a backlog, and how long an event takes from its commit
 * to its effect. What is measured, and how: docs/design/benchmarks.md.
 */
import { medianOf, rounded, summarize } from './harness/result.ts'
import { runBench } from './harness/run-bench.ts'
import { runRounds } from './harness/rounds.ts'
import { latencyContender } from './outbox/latency.ts'
import { relayContender } from './outbox/relay.ts'
import { systemOf, transactionsContender, transactionsMetric } from './outbox/transactions.ts'
import type { Result } from './harness/result.ts'
import type { Arrivals } from './outbox/latency.ts'

const clients = [1, 16]

await runBench('outbox', { rounds: 5, messages: 100_000, quickMessages: 5_000 }, async (server, { messages, rounds, quick, only = '' }) => {
  const seconds = quick ? 1 : 5
  const idle: Arrivals = { name: 'idle', perSecond: 20, messages: quick ? 40 : 200 }
  const underLoad: Arrivals = { name: 'under load', perSecond: 500, messages: quick ? 500 : 5_000 }
  const contenders = [
    ...clients.flatMap((count) =>
      (['pg', 'transaction', 'publish'] as const).map((way) => transactionsContender(server, way, count, seconds)),
    ),
    ...(['memory', 'postgres', 'postgres, same database'] as const).map((target) => relayContender(server, target, messages)),
    ...[idle, underLoad].map((arrivals) => latencyContender(server, arrivals)),
  ].filter(({ name }) => name.includes(only))
  const results = summarize(await runRounds(contenders, rounds))
  return { settings: { messageBytes: 300, transactions: { clients, seconds }, idle, underLoad }, results, ratios: ratios(results) }
})

/** What is left of the rate of transactions when each publishes an event: 1 would be free. */
function ratios(results: readonly Result[]): Record<string, number> {
  return Object.fromEntries(
    clients.flatMap((count) => {
      const without = medianOf(results, systemOf('transaction'), transactionsMetric(count))
      const withEvent = medianOf(results, systemOf('publish'), transactionsMetric(count))
      return without === undefined || withEvent === undefined ? [] : [[`publishVsWithout${count}`, rounded(withEvent / without)]]
    }),
  )
}
