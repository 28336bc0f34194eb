import { setTimeout as sleep } from 'node:timers/promises'
import { TidemarkError } from 'tidemark'
import { kafka, type KafkaBroker } from 'tidemark/kafka'
import { kafkaJars } from '../../servers/jar-sets.ts'
import { findJava, findMaven } from '../../servers/java.ts'
import { givenBrokers } from '../../servers/kafka.ts'
import { keptKafka } from '../../servers/kept-kafka.ts'
import { hasJars } from '../../servers/maven.ts'
import { topics } from './events.ts'
import { exitCodes, ShopError } from './program/shop-error.ts'
import { sessionTimeoutMs, type ShopLog } from './shop-log.ts'

const answerWithinMs = 5_000
const goneWithinMs = 30_000
/** Brokers of a cluster hear of a deletion one after the other, and each look asks any of them. */
const looksToBeSure = 5

/**
 * The cluster of `KAFKA_BROKERS`, else a broker in `directory`, made and started when needed.
 * Rejects with exit code 7 where no broker answers, and with 2 where Java or Maven is missing.
 */
export async function kafkaLog(
  directory: string,
  say: (line: string) => void,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<ShopLog> {
  const given = givenBrokers(environment)
  if (given !== null) return givenLog(given)
  await requirePrograms(environment)
  try {
    const lease = await keptKafka({ directory, say, environment }).acquire()
    // A broker of ours allows short sessions; that of a cluster may not.
    const broker = kafka({ brokers: lease.brokers, sessionTimeoutMs })
    return logOn(broker, lease.brokers, () => lease.release())
  } catch (cause) {
    throw new ShopError('KAFKA_FAILED', exitCodes.unreachable, messageOf(cause), 'Or set KAFKA_BROKERS to a Kafka that runs already.', {
      cause,
    })
  }
}

async function givenLog(brokers: readonly string[]): Promise<ShopLog> {
  // Whoever waits for a shop to start wants to hear soon of one that cannot.
  const probe = kafka({ brokers, connectTimeoutMs: answerWithinMs, requestTimeoutMs: answerWithinMs })
  try {
    await unlessMissing(probe.offsets(topics[0]!, 'latest'))
  } finally {
    await probe.close()
  }
  return logOn(kafka({ brokers }), brokers, () => Promise.resolve())
}

function logOn(broker: KafkaBroker, brokers: readonly string[], release: () => Promise<void>): ShopLog {
  return {
    // A cluster may have many users, and groups of theirs.
    optionsFor: (service) => ({ broker, group: `shop-${service}` }),
    databasePrefix: 'shop_kafka_',
    database: null,
    place: brokers.join(','),
    messages: () => messagesIn(broker),
    empty: async () => {
      for (const topic of topics) await unlessMissing(broker.deleteTopic(topic))
      for (const topic of topics) await untilGone(broker, topic)
    },
    release: async () => {
      await broker.close()
      await release()
    },
  }
}

async function messagesIn(broker: KafkaBroker): Promise<number> {
  let messages = 0
  for (const topic of topics) {
    const ends = (await unlessMissing(broker.offsets(topic, 'latest'))) ?? []
    messages += ends.reduce((sum, end) => sum + end, 0)
  }
  return messages
}

async function untilGone(broker: KafkaBroker, topic: string): Promise<void> {
  const deadline = performance.now() + goneWithinMs
  for (let looks = 0; looks < looksToBeSure;) {
    const isThere = (await unlessMissing(broker.offsets(topic, 'latest'))) !== null
    looks = isThere ? 0 : looks + 1
    if (isThere && performance.now() > deadline) {
      throw new TidemarkError('BROKER_UNREACHABLE', `The topic ${topic} was deleted and is still there after ${goneWithinMs / 1_000} s.`)
    }
    await sleep(20)
  }
}

async function unlessMissing<T>(work: Promise<T>): Promise<T | null> {
  try {
    return await work
  } catch (error) {
    if (TidemarkError.is(error, 'TOPIC_UNKNOWN')) return null
    throw error
  }
}

async function requirePrograms(environment: NodeJS.ProcessEnv): Promise<void> {
  try {
    findJava(environment)
    if (!(await hasJars(kafkaJars))) findMaven(environment)
  } catch (cause) {
    throw new ShopError('KAFKA_MISSING', exitCodes.usage, messageOf(cause), 'Or leave --broker kafka out: the log is in Postgres then.', {
      cause,
    })
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
