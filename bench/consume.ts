/**
 * `npm run bench -- consume`: messages per second through a handler that makes one insert, effects once, from a stored backlog,
 * beside graphile-worker and pg-boss. What is measured and how the peers are set up: docs/design/benchmarks.md.
 */
import { consumeContender, throughput } from './consume/contender.ts'
import { best, graphileWorkerSettings, pgBossSettings } from './consume/peer-settings.ts'
import { peers, tunedPeers } from './consume/systems.ts'
import { describeMachine } from './harness/machine.ts'
import { readOptions } from './harness/options.ts'
import { report } from './harness/report.ts'
import { medianOf, rounded, summarize } from './harness/result.ts'
import { runRounds } from './harness/rounds.ts'
import { startServer } from './harness/server.ts'
import type { Result } from './harness/result.ts'

const options = readOptions('consume', { rounds: 5, messages: 20_000, quickMessages: 2_000 })
const date = new Date().toISOString()
const server = await startServer()
process.stderr.write(`Postgres ${server.version}, Node ${process.version}, ${options.messages} messages, ${options.rounds} rounds\n`)

try {
  const systems = options.tune ? tunedPeers() : [...peers()]
  const { only } = options
  const chosen = only === undefined ? systems : systems.filter((system) => system.name.includes(only))
  const samples = await runRounds(
    chosen.map((system) => consumeContender(server, system, options.messages)),
    options.rounds,
  )
  const results = summarize(samples)
  report(
    {
      name: 'consume',
      date,
      machine: describeMachine(server.version),
      settings: {
        messages: options.messages,
        rounds: options.rounds,
        messageBytes: 300,
        postgres: server.settings,
        systems: Object.fromEntries(chosen.map((system) => [system.name, system.settings])),
        peerSettings: { 'graphile-worker': best(graphileWorkerSettings)[0], 'pg-boss': best(pgBossSettings)[0] },
      },
      results,
      ratios: ratios(results),
    },
    options.json,
  )
} finally {
  await server.stop()
}

function ratios(results: readonly Result[]): Record<string, number> {
  const peerRates = ['graphile-worker', 'pg-boss'].flatMap((name) => medianOf(results, name, throughput) ?? [])
  const bestPeer = Math.max(...peerRates)
  const against = (system: string): number | undefined => {
    const rate = medianOf(results, system, throughput)
    return rate === undefined || peerRates.length === 0 ? undefined : rounded(rate / bestPeer)
  }
  const vsBestPeer = against('tidemark')
  const batchVsBestPeer = against('tidemark (batch handler)')
  return { ...(vsBestPeer === undefined ? {} : { vsBestPeer }), ...(batchVsBestPeer === undefined ? {} : { batchVsBestPeer }) }
}
