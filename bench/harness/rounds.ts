import type { Sample } from './result.ts'

/** Something that is measured once per round. */
export interface Contender {
  readonly name: string
  /** One run, checked: a wrong outcome must reject. */
  measure(round: number): Promise<readonly Sample[]>
}

/**
 * Runs all contenders once, then all again, and so on, so that a machine that slows down or speeds up does so for all of them alike.
 * Every second round goes backwards: nobody is always first after the other. The first failure ends the bench.
 */
export async function runRounds(contenders: readonly Contender[], rounds: number): Promise<Sample[]> {
  const samples: Sample[] = []
  for (let round = 1; round <= rounds; round += 1) {
    const order = round % 2 === 1 ? contenders : contenders.toReversed()
    for (const contender of order) {
      process.stderr.write(`round ${round}/${rounds}  ${contender.name} ... `)
      const started = performance.now()
      const measured = await contender.measure(round)
      const headline = measured[0]
      process.stderr.write(
        `${headline ? `${Math.round(headline.value).toLocaleString('en-US')} ${headline.unit}` : 'done'} (${((performance.now() - started) / 1000).toFixed(1)} s in all)\n`,
      )
      samples.push(...measured)
    }
  }
  return samples
}
