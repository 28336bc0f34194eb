import { consumeContenders } from './consume.ts'
import { debeziumSettings, promptDebezium, smallHeap } from './debezium-settings.ts'
import { debeziumLatencyContender, latencyContender } from './latency.ts'
import { appenderContender, producerPerformanceContender, producers } from './produce.ts'
import { producerSettings } from './producer-settings.ts'
import { debezium, debeziumContender, debeziumSmallHeap, relayContender } from './relay.ts'
import { relaySettings } from './relay-settings.ts'
import { best } from '../consume/peer-settings.ts'
import type { BenchOptions } from '../harness/options.ts'
import type { Contender } from '../harness/rounds.ts'
import type { Server } from '../harness/server.ts'
import type { Arrivals } from '../outbox/latency.ts'
import type { BenchBroker } from './broker.ts'

/** How much of everything. A producer needs the most to be warm, and a loop by hand takes the longest. */
export function sizes({ messages, quick }: BenchOptions): {
  readonly produced: number
  readonly relayed: number
  readonly consumed: number
  readonly arrivals: readonly Arrivals[]
} {
  return {
    produced: messages * 5,
    relayed: messages,
    consumed: Math.ceil(messages / 4),
    arrivals: [
      { name: 'idle', perSecond: 20, messages: quick ? 40 : 200 },
      { name: 'under load', perSecond: 500, messages: quick ? 500 : 5_000 },
    ],
  }
}

/** All that is measured, each with the best settings that were found for it. */
export function allContenders(server: Server, broker: BenchBroker, options: BenchOptions): Contender[] {
  const { produced, relayed, consumed, arrivals } = sizes(options)
  return [
    ...(['none', 'relay'] as const).map((headers) => appenderContender(broker, produced, headers)),
    producerPerformanceContender(broker, produced, producers.java, best(producerSettings)[1]),
    ...Object.entries(relaySettings).map(([name, settings]) => relayContender(server, broker, relayed, name, settings)),
    debeziumContender(server, broker, relayed, debezium, best(debeziumSettings)[1]),
    debeziumContender(server, broker, relayed, debeziumSmallHeap, smallHeap),
    ...consumeContenders(server, broker, consumed),
    ...arrivals.flatMap((each) => [
      latencyContender(server, broker, each),
      debeziumLatencyContender(server, broker, each, debezium, promptDebezium),
    ]),
  ]
}

/** Every setting that was tried for the others. */
export function tunedContenders(server: Server, broker: BenchBroker, options: BenchOptions): Contender[] {
  const { produced, relayed } = sizes(options)
  return [
    ...Object.entries(producerSettings).map(([name, settings]) =>
      producerPerformanceContender(broker, produced, `${producers.java}: ${name}`, settings),
    ),
    ...Object.entries({ ...debeziumSettings, 'small heap': smallHeap }).map(([name, settings]) =>
      debeziumContender(server, broker, relayed, `${debezium}: ${name}`, settings),
    ),
  ]
}
