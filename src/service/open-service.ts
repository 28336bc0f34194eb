import type { ServiceDatabase } from '../drivers/port.ts'
import type { Broker } from '../message/port.ts'
import type { Consumption } from './service.ts'
import { embeddedPlatform } from './embedded-platform.ts'
import { retryTopicsOf } from '../consumer/consumer-options.ts'
import { type ServiceOptions, consumerSettings, outboxSettings } from './options.ts'
import type { Running } from './running.ts'
import type { Flow } from './settled.ts'
import { type GroupLag, groupLag } from './lag.ts'

/** A service whose database and broker are open. */
export interface OpenService {
  readonly name: string
  readonly database: ServiceDatabase
  readonly broker: Broker
  /** With the password; `null` unless the database is an embedded one. */
  readonly connectionString: string | null
  close(): Promise<void>
}

/** Opens database and broker; what is not given is embedded. Whatever was opened is closed again when a part fails. */
export async function openService(name: string, options: ServiceOptions): Promise<OpenService> {
  const platform = options.database === undefined || options.broker === undefined ? await embeddedPlatform() : null
  try {
    const driver = options.database ?? platform!.database
    const database = await driver.open(name, outboxSettings(options))
    return {
      name,
      database,
      broker: options.broker ?? platform!.broker,
      connectionString: options.database === undefined ? platform!.connectionString(name) : null,
      close: async () => {
        await database.close()
        await platform?.release()
      },
    }
  } catch (error) {
    await platform?.release()
    throw error
  }
}

/** What is on its way through an open service: its outbox, and the topics of its groups. */
export async function flowOf(
  open: OpenService,
  consumptions: readonly Consumption[],
  running: Running | null,
  options: ServiceOptions,
): Promise<Flow> {
  // Positions of idle lanes are stored about once a second; whoever waits wants them now.
  for (const consumer of running?.consumers ?? []) consumer.advance()
  // The outbox first: a handler's publish and its position move in one commit, and this order sees one of them.
  const pending = await open.database.outbox.pending()
  const lags = await lagsOf(open, consumptions, options)
  // Last: a message leaves the log for the queue of its key, and what it publishes there shows in the outbox of the next look.
  const parked = await parkedOf(open, consumptions)
  const behind = lags.filter(({ lag }) => lag > 0)
  const waiting = [
    ...(pending > 0 ? [`${pending} messages in the outbox`] : []),
    ...parked.map(([group, count]) => `${count} parked messages of the group ${group}`),
    ...behind.map(({ group, topic, lag }) => `${lag} messages of ${topic} for the group ${group}`),
  ]
  return { quiet: waiting.length === 0, mark: lags.map(({ end, handled }) => `${end}/${handled}`).join(','), waiting: waiting.join(', ') }
}

/** What waits in each group to be tried again; what waits for somebody's decision is at rest. */
async function parkedOf(open: OpenService, consumptions: readonly Consumption[]): Promise<readonly (readonly [string, number])[]> {
  const groups = [...topicsByGroup(consumptions).keys()]
  const counts = await Promise.all(groups.map((group) => open.database.consumer.parked.waiting(group)))
  return groups.map((group, i) => [group, counts[i]!] as const).filter(([, count]) => count > 0)
}

/** How far each group is behind in each of its topics. */
export async function lagsOf(
  open: OpenService,
  consumptions: readonly Consumption[],
  options: ServiceOptions,
): Promise<readonly GroupLag[]> {
  const lags: GroupLag[] = []
  for (const [group, topics] of readByGroup(consumptions, options)) lags.push(...(await groupLag(open, group, topics)))
  return lags
}

/** What each group reads: the topics of its events, and its retry topics. */
export function readByGroup(consumptions: readonly Consumption[], options: ServiceOptions): ReadonlyMap<string, readonly string[]> {
  const retry = retryTopicsByGroup(consumptions, options)
  return new Map([...topicsByGroup(consumptions)].map(([group, topics]) => [group, [...topics, ...retry.get(group)!.topics]]))
}

/** The topics beside those of the events, for each group. Fails with `CONFIG_INVALID` as the consumer would. */
export function retryTopicsByGroup(
  consumptions: readonly Consumption[],
  options: ServiceOptions,
): ReadonlyMap<string, ReturnType<typeof retryTopicsOf>> {
  const groups = [...topicsByGroup(consumptions).keys()]
  return new Map(
    groups.map((group) => {
      const handlers = consumptions.filter((one) => one.group === group).map(({ handler }) => handler)
      return [group, retryTopicsOf({ ...consumerSettings(options), group, handlers })]
    }),
  )
}

/** Topics of the events of each group. */
export function topicsByGroup(consumptions: readonly Consumption[]): ReadonlyMap<string, readonly string[]> {
  const topics = new Map<string, string[]>()
  for (const { group, handler } of consumptions) {
    const known = topics.get(group) ?? []
    if (!known.includes(handler.definition.topic)) known.push(handler.definition.topic)
    topics.set(group, known)
  }
  return topics
}
