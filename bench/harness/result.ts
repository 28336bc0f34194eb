import { median } from './statistics.ts'

/** One figure of one system, over all runs. */
export interface Result {
  readonly system: string
  readonly version: string
  readonly metric: string
  readonly unit: string
  readonly median: number
  readonly min: number
  readonly max: number
  /** How many runs. */
  readonly runs: number
}

/** The one document a bench prints. */
export interface BenchDocument {
  readonly name: string
  readonly date: string
  readonly machine: Readonly<Record<string, unknown>>
  readonly settings: Readonly<Record<string, unknown>>
  readonly results: readonly Result[]
  readonly ratios: Readonly<Record<string, number>>
}

/** One measured value of one run. */
export interface Sample {
  readonly system: string
  readonly version: string
  readonly metric: string
  readonly unit: string
  readonly value: number
}

/** Samples of the same system and metric become one result. Order of first appearance. */
export function summarize(samples: readonly Sample[]): Result[] {
  const groups = new Map<string, Sample[]>()
  for (const sample of samples) {
    const name = JSON.stringify([sample.system, sample.metric])
    groups.set(name, [...(groups.get(name) ?? []), sample])
  }
  return [...groups.values()].map(resultOf)
}

function resultOf(samples: readonly Sample[]): Result {
  const { system, version, metric, unit } = samples[0]!
  const values = samples.map((sample) => sample.value)
  return {
    system,
    version,
    metric,
    unit,
    median: rounded(median(values)),
    min: rounded(Math.min(...values)),
    max: rounded(Math.max(...values)),
    runs: values.length,
  }
}

/** The median of a metric of a system, or `undefined` if it was not measured. */
export function medianOf(results: readonly Result[], system: string, metric: string): number | undefined {
  return results.find((result) => result.system === system && result.metric === metric)?.median
}

/** Four significant digits below a thousand, whole numbers above: more would be noise. */
export function rounded(value: number): number {
  return Math.abs(value) >= 1_000 ? Math.round(value) : Number(value.toPrecision(4))
}
