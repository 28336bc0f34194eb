import { throughput } from '../consume/contender.ts'
import { medianOf, rounded } from '../harness/result.ts'
import { consumeSystems } from './consume.ts'
import { produceRate, producers } from './produce.ts'
import { debezium, debeziumSmallHeap, relayMemory, relayRate, relayRateFromStart, relayRateSecondHalf } from './relay.ts'
import { plainRelay, relaySettings } from './relay-settings.ts'
import type { Result } from '../harness/result.ts'

/** Ours over the others'. For rates more is better, for memory and times less. Those of systems that were not measured are left out. */
export function ratios(results: readonly Result[]): Record<string, number> {
  const median = (system: string, metric: string): number | undefined => medianOf(results, system, metric)
  const fastest = Object.keys(relaySettings).toSorted((a, b) => (median(b, relayRate) ?? 0) - (median(a, relayRate) ?? 0))[0]!
  const over = (metric: string, system: string, other: string): number | undefined => {
    const [above, below] = [median(system, metric), median(other, metric)]
    return above === undefined || below === undefined ? undefined : rounded(above / below)
  }
  const toEffect = (arrivals: string, share: string): number | undefined =>
    over(`commit to effect, ${arrivals}, ${share}`, 'tidemark', debezium)
  const named = {
    producingVsKafkaProducer: over(produceRate, producers.none, producers.java),
    pollingRelayVsDebezium: over(relayRate, fastest, debezium),
    pollingRelayVsDebeziumFromStart: over(relayRateFromStart, fastest, debezium),
    pollingRelayVsDebeziumSecondHalf: over(relayRateSecondHalf, fastest, debezium),
    plainRelayVsDebezium: over(relayRate, plainRelay, debezium),
    memoryVsDebezium: over(relayMemory, plainRelay, debezium),
    memoryVsDebeziumSmallHeap: over(relayMemory, plainRelay, debeziumSmallHeap),
    consumeVsHandWritten: over(throughput, consumeSystems.message, consumeSystems['one by one']),
    consumeVsHandWrittenPartitions: over(throughput, consumeSystems.message, consumeSystems.partitions),
    batchVsHandWrittenBatches: over(throughput, consumeSystems.batch, consumeSystems.batches),
    commitToEffectIdleP50VsDebezium: toEffect('idle', 'p50'),
    commitToEffectIdleP99VsDebezium: toEffect('idle', 'p99'),
    commitToEffectLoadP50VsDebezium: toEffect('under load', 'p50'),
    commitToEffectLoadP99VsDebezium: toEffect('under load', 'p99'),
  }
  return Object.fromEntries(Object.entries(named).filter((entry): entry is [string, number] => entry[1] !== undefined))
}
