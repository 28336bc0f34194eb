import { TidemarkError } from 'tidemark'
import type { Appender, Broker, SequencedRecord } from '../../../src/message/port.ts'

/** What relays have sent. */
export interface Wire {
  readonly sent: SequencedRecord[]
}

/** The same broker, but the reply to the first append is lost: the records are in the log, and the sender has to repeat them. */
export function losingTheFirstReply(broker: Broker, wire: Wire): Broker {
  let lost = false
  const observed = (appender: Appender): Appender => ({
    last: appender.last,
    close: () => appender.close(),
    append: async (records) => {
      wire.sent.push(...records)
      const refusals = await appender.append(records)
      if (lost) return refusals
      lost = true
      throw new TidemarkError('BROKER_UNREACHABLE', 'The reply was lost.')
    },
  })
  return {
    traits: broker.traits,
    topics: (specs) => broker.topics(specs),
    appender: async (claim) => observed(await broker.appender(claim)),
    join: (options, listener) => broker.join(options, listener),
    reader: () => broker.reader(),
    offsets: (topic, at) => broker.offsets(topic, at),
    committed: (group, topic) => broker.committed(group, topic),
    close: () => Promise.resolve(),
  }
}
