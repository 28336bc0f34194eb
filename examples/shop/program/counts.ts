import type { ServiceStatus } from 'tidemark'
import { servicesOf, type Shop } from '../shop.ts'

/** What went through one service in this process. */
export interface Counts {
  readonly handled: number
  /** Sent by this process's relay, repeats included. */
  readonly published: number
  /** Events that wait for it now; `null` while the broker does not say. */
  readonly lag: number | null
  readonly retries: number
  readonly duplicates: number
  readonly deadLetters: number
}

/** One status of every service, in the order in which an order meets them. */
export function statusesOf(shop: Shop): Promise<readonly ServiceStatus[]> {
  return Promise.all(servicesOf(shop).map((service) => service.status()))
}

export function countsOf({ groups, outbox, lagError }: ServiceStatus): Counts {
  const counts = groups.flatMap(({ consumer }) => consumer?.counts ?? [])
  return {
    handled: sum(counts.map(({ handled }) => handled)),
    published: sum(outbox.relays.map((relay) => relay.published)),
    lag: lagError === null ? sum(groups.flatMap(({ lags }) => lags?.map(({ lag }) => lag) ?? [])) : null,
    retries: sum(counts.map(({ retries }) => retries)),
    duplicates: sum(counts.flatMap(({ duplicates }) => Object.values(duplicates))),
    deadLetters: sum(counts.map(({ deadLetters }) => deadLetters)),
  }
}

export function sum(numbers: readonly number[]): number {
  return numbers.reduce((all, number) => all + number, 0)
}
