/**
 * `npm run bench -- consume`: messages per second through a handler that makes one insert, effects once, from a stored backlog,
 * beside graphile-worker and pg-boss. What is measured and how the peers are set up: docs/design/benchmarks.md.
 */
import { consumeContender, throughput } from './consume/contender.ts'
import { best, graphileWorkerSettings, pgBossSettings } from './consume/peer-settings.ts'
import { ownSystems, peers, tunedPeers } from './consume/systems.ts'
import { medianOf, rounded, summarize } from './harness/result.ts'
import { runBench } from './harness/run-bench.ts'
import { runRounds } from './harness/rounds.ts'
import type { Result } from './harness/result.ts'

await runBench('consume', { rounds: 5, messages: 20_000, quickMessages: 2_000 }, async (server, { messages, rounds, tune, only = '' }) => {
  const systems = (tune ? tunedPeers() : [...ownSystems(), ...peers()]).filter(({ name }) => name.includes(only))
  const results = summarize(
    await runRounds(
      systems.map((system) => consumeContender(server, system, messages)),
      rounds,
    ),
  )
  return {
    settings: {
      messageBytes: 300,
      systems: Object.fromEntries(systems.map((system) => [system.name, system.settings])),
      peerSettings: { 'graphile-worker': best(graphileWorkerSettings)[0], 'pg-boss': best(pgBossSettings)[0] },
    },
    results,
    ratios: ratios(results),
  }
})

/** Our rates over those of the best peer, whatever its handler does; and over the best whose handler fails one message alone, as ours. */
function ratios(results: readonly Result[]): Record<string, number> {
  const ratio = (system: string, others: readonly string[]): number | undefined => {
    const ours = medianOf(results, system, throughput)
    const theirs = others.flatMap((other) => medianOf(results, other, throughput) ?? [])
    return ours === undefined || theirs.length < others.length ? undefined : rounded(ours / Math.max(...theirs))
  }
  const all = ['graphile-worker', 'pg-boss', 'pg-boss (job by job)']
  const named = {
    vsBestPeer: ratio('tidemark', all),
    vsBestPeerJobByJob: ratio('tidemark', ['graphile-worker', 'pg-boss (job by job)']),
    batchVsBestPeer: ratio('tidemark (batch handler)', all),
  }
  return Object.fromEntries(Object.entries(named).filter((entry): entry is [string, number] => entry[1] !== undefined))
}
