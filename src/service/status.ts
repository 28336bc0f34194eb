import { TidemarkError } from '../errors.ts'
import { systemClock, within } from '../internal/clock.ts'
import type { DedupHorizon } from '../inbox/index.ts'
import type { ConsumerStatus } from '../consumer/index.ts'
import type { ParkedStore, SplitKeys } from '../consumer/parked-port.ts'
import type { HeldBack, RelayStatus } from '../outbox/index.ts'
import type { GroupLag } from './lag.ts'
import { type OpenService, lagsOf } from './open-service.ts'
import { horizonOf } from './horizon.ts'
import { ReadSeldom } from './read-seldom.ts'
import type { ServiceOptions } from './options.ts'
import type { Running } from './running.ts'
import { contactsOf } from './service-alerts.ts'
import type { Consumption } from './service.ts'
import { type SplitTopic, splitTopics } from './split-keys.ts'

/** How a service is doing. Counters are of this process since its start; lags are of all processes. */
export interface ServiceStatus {
  readonly name: string
  /** Host, port and database. */
  readonly place: string
  readonly outbox: {
    /** Committed messages not yet published, counted up to 1,000. */
    readonly pending: number
    /** Held back since the broker refused a message of their key, until somebody releases or discards it (`tidemark outbox parked`). A finding. */
    readonly held: HeldBack
    /** One for each stream; empty when this process does not relay. */
    readonly relays: readonly RelayStatus[]
  }
  readonly groups: readonly GroupStatus[]
  /** What somebody should see to. Empty where all is well. */
  readonly findings: readonly StatusFinding[]
  /** How long repeats without a coordinate are recognised, and what could come again later than that. */
  readonly horizon: DedupHorizon
  /** Why the broker did not say how far behind the groups are; `null` when it did. */
  readonly lagError: unknown
}

/**
 * `no-owner`: nobody is named whom the dead letters of the group would concern. `split-keys`: see `GroupStatus.splitKeys`. `outbox-held`: see `ServiceStatus.outbox.held`.
 */
export interface StatusFinding {
  readonly finding: 'no-owner' | 'split-keys' | 'outbox-held'
  /** `null`: it is of the service as a whole. */
  readonly group: string | null
}

export interface GroupStatus {
  readonly group: string
  /** Whom its dead letters concern; `null`: nobody was named, which is a finding. */
  readonly owner: string | null
  /** Where it is written what to do about them. */
  readonly runbook: string | null
  /** `null` when the broker did not answer within five seconds. Everything else is known without it. */
  readonly lags: readonly GroupLag[] | null
  /** `null` until the service is started. */
  readonly consumer: ConsumerStatus | null
  /**
   * Topics of which keys wait in more than one partition, since the topic got more of them, or its senders do not agree on a key's partition: what waits in
   * one is not ordered after what waits in the other. Empty where all is well.
   */
  readonly splitKeys: readonly SplitTopic[]
}

/** Reads every key that waits, which takes a while where very many do. */
const seldom = new WeakMap<ParkedStore, ReadSeldom<readonly SplitKeys[]>>()

function splitKeysOf({ database }: OpenService, group: string): Promise<readonly SplitKeys[]> {
  const { parked } = database.consumer
  const reads = seldom.get(parked) ?? new ReadSeldom<readonly SplitKeys[]>()
  seldom.set(parked, reads)
  return reads.read(group, () => parked.splitKeys(group))
}

export async function statusOf(
  open: OpenService,
  consumptions: readonly Consumption[],
  running: Running | null,
  options: ServiceOptions,
): Promise<ServiceStatus> {
  const [pending, held] = await Promise.all([open.database.outbox.pending(), open.database.outbox.heldBack()])
  const [{ lags, error }, horizon] = await Promise.all([
    promptly(lagsOf(open, consumptions, options)),
    horizonOf(open, consumptions, options),
  ])
  const contacts = contactsOf(options, consumptions)
  const names = contacts.map(({ group }) => group)
  const splits = await Promise.all(names.map((group) => splitKeysOf(open, group)))
  return {
    name: open.name,
    place: open.database.place,
    outbox: { pending, held, relays: running?.relays.map((relay) => relay.status()) ?? [] },
    groups: contacts.map(({ group, owner, runbook }, i) => ({
      group,
      owner,
      runbook,
      lags: lags?.filter((lag) => lag.group === group) ?? null,
      consumer: running?.consumers[i]?.status() ?? null,
      splitKeys: splitTopics(splits[i]!),
    })),
    findings: [
      ...(held.keys > 0 ? [{ finding: 'outbox-held', group: null } as const] : []),
      ...contacts.flatMap(({ group, owner }, i) => [
        ...(owner === null ? [{ finding: 'no-owner', group } as const] : []),
        ...(splits[i]!.length > 0 ? [{ finding: 'split-keys', group } as const] : []),
      ]),
    ],
    horizon,
    lagError: error,
  }
}

/** Who asks how a service is doing asks most of all when its broker is away, and does not wait for all that a broker is given. */
async function promptly(
  asked: Promise<readonly GroupLag[]>,
): Promise<{ readonly lags: readonly GroupLag[] | null; readonly error: unknown }> {
  try {
    if (await within(systemClock, patienceMs, asked)) return { lags: await asked, error: null }
    throw new TidemarkError('BROKER_UNREACHABLE', `The broker did not say how far the groups are within ${patienceMs} ms.`)
  } catch (error) {
    return { lags: null, error }
  }
}

const patienceMs = 5_000
