/**
 * `npm run bench -- failure`: what failures cost. Messages per second with keys that stay parked and messages that fail once, beside the same run without
 * them; the same with one key that has 30 % of the messages; dead letters redriven to their effects per second; lists and groups of 100,000 of them.
 * What is measured: docs/design/benchmarks.md.
 */
import { beside, besideContender, failureContender, letters, redriveContender, throughput } from './failure/contenders.ts'
import { modes } from './failure/modes.ts'
import { medianOf, rounded, summarize } from './harness/result.ts'
import { runBench } from './harness/run-bench.ts'
import { runRounds } from './harness/rounds.ts'
import type { Result } from './harness/result.ts'

await runBench('failure', { rounds: 5, messages: 40_000, quickMessages: 5_000 }, async (server, { messages, rounds, only = '' }) => {
  const contenders = [
    ...modes.map((mode) => failureContender(server, mode, messages)),
    redriveContender(server, 'redrive', Math.round(messages / 2)),
    redriveContender(server, 'redrive, a key each', Math.min(2_000, messages)),
    besideContender(server, { letters: Math.min(3_000, messages), rate: 500 }),
    letters(server, 100_000),
  ].filter(({ name }) => name.includes(only))
  const results = summarize(await runRounds(contenders, rounds))
  return {
    settings: { messageBytes: 300, keys: 2_000, parkedKeys: '1 %', failingOnce: '1 %', hotKey: '30 % of the messages' },
    results,
    ratios: ratios(results),
  }
})

function ratios(results: readonly Result[]): Record<string, number> {
  const ratio = (mode: string, than: string): number | undefined => {
    const [one, other] = [medianOf(results, mode, throughput), medianOf(results, than, throughput)]
    return one === undefined || other === undefined ? undefined : rounded(one / other)
  }
  const [alone, live] = [medianOf(results, beside, 'live, alone'), medianOf(results, beside, throughput)]
  const named = {
    withFailuresVsClean: ratio('failures', 'clean'),
    withRetryTopicsVsClean: ratio('failures, retry topics', 'clean'),
    withLateFailuresVsClean: ratio('failures after the effect', 'clean'),
    hotKeyVsClean: ratio('hot key', 'clean'),
    hotKeyWithFailuresVsHotKey: ratio('hot key, failures', 'hot key'),
    liveBesideRedriveVsAlone: alone === undefined || live === undefined ? undefined : rounded(live / alone),
  }
  return Object.fromEntries(Object.entries(named).filter((entry): entry is [string, number] => entry[1] !== undefined))
}
