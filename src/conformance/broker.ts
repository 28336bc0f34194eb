/**
 * The promises of the `Broker` port, as cases that any test runner can register. A driver of your own passes when all of them do:
 *
 * ```ts
 * import { brokerCases, brokerOffers, exercise } from 'tidemark/conformance'
 *
 * exercise(brokerCases, { offers: brokerOffers(myBroker().traits), open: async () => ({ connect, elapse, close }) }, { test, skip })
 * ```
 *
 * Each case gets a log of its own; `connect` gives it brokers on that log, as several processes would have them.
 *
 * @module
 */
import type { BrokerTraits } from '../message/port.ts'
import { appendCases } from './broker/append-cases.ts'
import { fetchCases } from './broker/fetch-cases.ts'
import type { BrokerFixture } from './broker/fixture.ts'
import { groupCases } from './broker/group-cases.ts'
import { logCases } from './broker/log-cases.ts'
import { topicCases } from './broker/topic-cases.ts'
import type { Case } from './case.ts'

export type { BrokerFixture, BrokerSettings } from './broker/fixture.ts'

export const brokerCases: readonly Case<BrokerFixture>[] = [...logCases, ...appendCases, ...fetchCases, ...topicCases, ...groupCases]

/** What a broker offers by its traits, plus what its fixture adds (`trim`, `deleteTopic`, `addPartitions`, `settings`). */
export function brokerOffers(
  traits: BrokerTraits,
  extra: readonly ('trim' | 'deleteTopic' | 'addPartitions' | 'settings')[] = [],
): string[] {
  const { denseOffsets, fencesAppends, skipsRepeats, durable, crossProcess } = traits
  const named = Object.entries({ denseOffsets, fencesAppends, skipsRepeats, durable, crossProcess })
  return [...named.filter(([, has]) => has).map(([name]) => name), ...extra]
}
