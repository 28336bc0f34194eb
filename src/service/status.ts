import type { ConsumerStatus } from '../consumer/index.ts'
import type { RelayStatus } from '../outbox/index.ts'
import type { GroupLag } from './lag.ts'
import { type OpenService, lagsOf } from './open-service.ts'
import type { Running } from './running.ts'
import type { Consumption } from './service.ts'

/** How a service is doing. Counters are of this process since its start; lags are of all processes. */
export interface ServiceStatus {
  readonly name: string
  /** Host, port and database. */
  readonly place: string
  readonly outbox: {
    /** Committed messages not yet published, counted up to 1,000. */
    readonly pending: number
    /** One for each stream; empty when this process does not relay. */
    readonly relays: readonly RelayStatus[]
  }
  readonly groups: readonly GroupStatus[]
}

export interface GroupStatus {
  readonly group: string
  readonly lags: readonly GroupLag[]
  /** `null` until the service is started. */
  readonly consumer: ConsumerStatus | null
}

export async function statusOf(open: OpenService, consumptions: readonly Consumption[], running: Running | null): Promise<ServiceStatus> {
  const [pending, lags] = [await open.database.outbox.pending(), await lagsOf(open, consumptions)]
  const names = [...new Set(consumptions.map(({ group }) => group))]
  return {
    name: open.name,
    place: open.database.place,
    outbox: { pending, relays: running?.relays.map((relay) => relay.status()) ?? [] },
    groups: names.map((group, i) => ({
      group,
      lags: lags.filter((lag) => lag.group === group),
      consumer: running?.consumers[i]?.status() ?? null,
    })),
  }
}
