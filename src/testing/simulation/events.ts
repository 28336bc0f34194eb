import { type EventDefinition, type StandardSchemaV1, event } from '../../message/index.ts'
import type { OutboxMessage } from '../../message/outbox-message.ts'
import type { Sent, Trouble } from './ledger.ts'

interface Data {
  readonly key: string
}

const schema: StandardSchemaV1<Data> = {
  '~standard': { version: 1, vendor: 'tidemark', validate: (value) => ({ value: value as Data }) },
}

const of = <Type extends string>(type: Type, aggregate: string): EventDefinition<Type, StandardSchemaV1<Data>> =>
  event(type, { aggregate, key: ({ key }) => key, schema })

/** A dead letter of it blocks its key. */
export const Changed = of('Changed', 'thing')
/** A dead letter of it is skipped. */
export const Noted = of('Noted', 'thing')
/** What handlers of the above publish. */
export const Echoed = of('Echoed', 'echo')
/** From programs that are not ours. */
export const Told = of('Told', 'told')

export const handledTypes: readonly string[] = [Changed.type, Noted.type, Echoed.type, Told.type]

export const topics: readonly string[] = [Changed.topic, Echoed.topic, Told.topic]

/** Nobody handles it. */
export const unrouted = 'Unrouted'

export interface Draft {
  readonly id: string
  readonly type: string
  readonly aggregate: string
  readonly key: string | null
  readonly trouble: Trouble
}

/** A message for the outbox. */
export function messageOf({ id, type, aggregate, key, trouble }: Draft): OutboxMessage {
  const payload = Buffer.from(trouble === 'unreadable' ? 'not what it should be' : JSON.stringify({ key }))
  return { id, aggregateType: aggregate, aggregateId: key ?? '', type, payload, headers: { ce_source: '/simulation' } }
}

/** How the ledger knows it. */
export function sentOf({ id, type, aggregate, key, trouble }: Draft, more: Partial<Sent> = {}): Sent {
  const routed = type !== unrouted
  return { id, key: key === null ? null : `${aggregate}/${key}`, trouble, routed, echo: null, foreign: false, ...more }
}
