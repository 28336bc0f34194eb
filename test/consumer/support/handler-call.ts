import type { Call, Manner } from '../../../src/consumer/batch/call.ts'
import { Entry } from '../../../src/consumer/batch/entry.ts'
import type { Handler } from '../../../src/consumer/handler.ts'
import type { Message } from '../../../src/message/index.ts'

/** A call of a handler for one message, as a batch makes it. */
export function handlerCall(handler: Handler, message: Message, manner: Manner): Call {
  const { id, key, topic, partition, offset } = message
  const bytes = key === null ? null : Buffer.from(key)
  const entry = new Entry({ topic, partition, offset, timestamp: 0, key: bytes, value: null, headers: [] })
  const task = { entry, handler, message, inboxId: null }
  const keys = key === null ? [] : [key]
  return { handler, tasks: [task], messages: [message], identity: id, timestamp: 0, before: 0, keys, manner, tries: 1 }
}
