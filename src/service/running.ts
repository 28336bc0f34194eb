import { Routes } from '../consumer/handler.ts'
import { type Consumer, type ConsumerOptions, runConsumer } from '../consumer/index.ts'
import { TidemarkError } from '../errors.ts'
import type { TopicSpec } from '../message/index.ts'
import { type Relay, runRelay } from '../outbox/index.ts'
import { channels } from '../telemetry/channels.ts'
import { type OpenService, retryTopicsByGroup, topicsByGroup } from './open-service.ts'
import { type ServiceOptions, consumerSettings, outboxSettings, relaySettings } from './options.ts'
import type { Consumption } from './service.ts'
import { noteContacts, watchDeadLetters } from './service-alerts.ts'
import { tellOfHorizon } from './horizon.ts'
import { keepForgetting } from './service-ledger.ts'
import { watchSplitKeys } from './split-keys.ts'

/** A started service: a relay for each stream of its outbox, and one consumer per group. */
export interface Running {
  readonly relays: readonly Relay[]
  readonly consumers: readonly Consumer[]
  /** What ended a consumer or the relay; `null` while all of them run. */
  readonly failure: unknown
  /** Resolves after `stop`; rejects with `failure`. */
  readonly done: Promise<void>
  /** Something was published in this process. */
  wake(): void
  stop(): Promise<void>
}

/** Starts what the service runs. When a part cannot start, those already started are stopped and the error is thrown. */
export async function startService(open: OpenService, options: ServiceOptions, consumptions: readonly Consumption[]): Promise<Running> {
  await prepareTopics(open, consumptions, options)
  await noteContacts(open, options, consumptions)
  await tellOfHorizon(open, consumptions, options)
  const { name, broker, database } = open
  const relays = startRelays(open, options, topicSpecs(consumptions, options))
  const wake = (): void => relays.forEach((relay) => relay.wake())
  const consumers: Consumer[] = []
  try {
    const common = { broker, store: database.consumer, clientId: name, onPublished: wake }
    for (const group of groupsOf(consumptions)) consumers.push(runConsumer({ ...consumerSettings(options), ...group, ...common }))
  } catch (error) {
    await Promise.all([...consumers, ...relays].map((part) => part.stop()))
    throw error
  }
  return watch(relays, consumers, wake, [
    keepForgetting(name, database.ledger),
    watchSplitKeys({ service: name, groups: [...topicsByGroup(consumptions).keys()], parked: database.consumer.parked }),
    ...watchDeadLetters(open, options),
  ])
}

function startRelays({ broker, database }: OpenService, options: ServiceOptions, topics: readonly TopicSpec[]): readonly Relay[] {
  if (options.relay === false) return []
  const { maintain = true, ...settings } = relaySettings(options)
  // The streams share one table, so the owner of the first one keeps its partitions.
  return Array.from({ length: outboxSettings(options).streams ?? 1 }, (_, stream) =>
    runRelay({ ...settings, store: database.outbox, broker, topics, stream, maintain: maintain && stream === 0 }),
  )
}

/** Topics of what is consumed are made now, since a group may read them before anybody has published. */
async function prepareTopics({ name, broker }: OpenService, consumptions: readonly Consumption[], options: ServiceOptions): Promise<void> {
  for (const { name: topic, differs } of await broker.topics(topicSpecs(consumptions, options))) {
    if (differs !== undefined) channels.topicDiffers.publish({ service: name, topic, differs })
  }
}

/** What is said of single topics goes before what is said of all. */
function topicSpecs(consumptions: readonly Consumption[], options: ServiceOptions): readonly TopicSpec[] {
  const { partitions: ofAll, topics = [] } = options
  const names = new Set([...consumptions.map(({ handler }) => handler.definition.topic), ...topics.map(({ name }) => name)])
  const partitions = (count: number | undefined): Pick<TopicSpec, 'partitions'> => (count === undefined ? {} : { partitions: count })
  const specOf = (name: string): TopicSpec | undefined => topics.find((spec) => spec.name === name)
  const own = [...names].map((name) => ({ ...partitions(ofAll), ...specOf(name), name }))
  // As many partitions as the topic whose messages they take, where that was said.
  const beside = [...retryTopicsByGroup(consumptions, options).values()].flatMap(({ all }) => all)
  const more = beside.filter(({ name }) => !names.has(name))
  return [...own, ...more.map(({ name, source }) => ({ ...partitions(specOf(source)?.partitions ?? ofAll), name }))]
}

/** Throws `CONFIG_INVALID` for what the consumer of a group would not start with, as far as it can be told without a database. */
export function checkGroups(consumptions: readonly Consumption[], options: ServiceOptions): void {
  const retryTopics = retryTopicsByGroup(consumptions, options)
  for (const { group, handlers } of groupsOf(consumptions)) void new Routes(handlers, retryTopics.get(group)!)
}

/** One consumer for each group, in the order they were first named. */
function groupsOf(consumptions: readonly Consumption[]): readonly Pick<ConsumerOptions, 'group' | 'handlers' | 'startFrom'>[] {
  const names = [...new Set(consumptions.map(({ group }) => group))]
  return names.map((group) => {
    const own = consumptions.filter((consumption) => consumption.group === group)
    const starts = own.map(({ startFrom }) => startFrom).filter((start) => start !== undefined)
    // By what they say: two dates or two objects are never the same one.
    if (new Set(starts.map((start) => JSON.stringify(start))).size > 1) {
      throw new TidemarkError('CONFIG_INVALID', `The events of the group "${group}" name different values of startFrom.`, {
        remedy: 'Give them one, or groups of their own.',
      })
    }
    return { group, handlers: own.map(({ handler }) => handler), ...(starts.length === 0 ? {} : { startFrom: starts[0]! }) }
  })
}

function watch(
  relays: readonly Relay[],
  consumers: readonly Consumer[],
  wake: () => void,
  loops: readonly { stop(): Promise<void> }[],
): Running {
  let failure: unknown = null
  const parts = [...relays, ...consumers]
  const done = Promise.all(parts.map((part) => part.done)).then(
    () => undefined,
    (error: unknown) => {
      failure = error
      throw error
    },
  )
  return {
    relays,
    consumers,
    wake,
    done,
    get failure() {
      return failure
    },
    // Handlers first: what they publish in their last batches can still be sent.
    stop: async () => {
      await Promise.all(consumers.map((consumer) => consumer.stop()))
      await Promise.all(relays.map((relay) => relay.stop()))
      await Promise.all(loops.map((loop) => loop.stop()))
    },
  }
}
