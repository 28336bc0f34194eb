import { TidemarkError } from '../errors.ts'
import { jsonCodec } from './codec.ts'
import type { Codec } from './codec.ts'
import type { InferInput, InferOutput, StandardSchemaV1 } from './standard-schema.ts'
import { isTopicName, topicOf } from './topic.ts'

/** Makes data of version n + 1 out of data of version n, both as stored. Pure; may throw, the message is then undecodable. */
export type Upcaster = (old: unknown) => unknown

export interface EventOptions<Schema extends StandardSchemaV1> {
  /** Aggregate type, for example `order`. The topic is `outbox.event.<aggregate>` unless `topic` says otherwise. */
  readonly aggregate: string
  /** Partition key, the id of the aggregate. Messages of one key keep their order. */
  readonly key: (data: InferInput<Schema>) => string
  /**
   * Any Standard Schema. A publish gives its input, which is what is stored; a handler gets its output. So the input must be something
   * the codec can carry: for JSON take `z.iso.datetime().transform(…)`, not `z.date()`.
   */
  readonly schema: Schema
  /** Version of the data's shape. Raise it with an upcaster for the step. @default 1 */
  readonly version?: number
  /** From version n to n + 1, keyed by n, without holes up to the present version. @default {} */
  readonly upcasters?: Readonly<Record<number, Upcaster>>
  /**
   * Another topic, to read what others publish or to keep one that exists. Debezium's router does not know it: it routes by aggregate.
   * @default `outbox.event.<aggregate>`
   */
  readonly topic?: string
  /** Bytes and back. @default JSON */
  readonly codec?: Codec
  /**
   * Records of the topic that name no type are this event, as programs write them that know no envelope. One event of a topic in a group at most.
   * @default false: such records are skipped and counted
   */
  readonly untyped?: boolean
}

/** An event as publishers and handlers share it. Make it with `event`. */
export interface EventDefinition<Type extends string = string, Schema extends StandardSchemaV1 = StandardSchemaV1> {
  readonly type: Type
  readonly aggregate: string
  readonly topic: string
  readonly version: number
  readonly schema: Schema
  readonly upcasters: Readonly<Record<number, Upcaster>>
  readonly codec: Codec
  readonly untyped: boolean
  // A method, so that a definition of any schema is still an EventDefinition.
  key(data: InferInput<Schema>): string
}

/** What a publish of this event takes. */
export type EventInput<Definition extends EventDefinition> = InferInput<Definition['schema']>

/** What a handler of this event sees as `data`. */
export type EventData<Definition extends EventDefinition> = InferOutput<Definition['schema']>

/**
 * Defines an event. Wrong settings fail here, with `CONFIG_INVALID`: a name that no topic can have, a version that is not a whole number
 * from 1 on, upcasters with a hole or beyond the version, a `key`, an upcaster or a codec that is none.
 */
export function event<Type extends string, Schema extends StandardSchemaV1>(
  type: Type,
  options: EventOptions<Schema>,
): EventDefinition<Type, Schema> {
  if (typeof options !== 'object' || options === null) throw invalid(type, 'it needs { aggregate, key, schema }')
  const { aggregate, schema, key, version = 1, upcasters = {}, codec = jsonCodec, untyped = false } = options
  if (typeof aggregate !== 'string') throw invalid(type, 'its aggregate must be a text, for example "order"')
  const topic = options.topic ?? topicOf(aggregate)
  if (type === '' || hasUnstorable(type)) throw invalid(type, 'its type must be a text that is not empty')
  if (!isTopicName(topic) || !isTopicName(topicOf(aggregate))) {
    throw invalid(type, `"${options.topic ?? aggregate}" gives no topic name (letters, digits, ".", "_" and "-", at most 249)`)
  }
  if (typeof schema?.['~standard']?.validate !== 'function')
    throw invalid(type, 'its schema is not a Standard Schema (zod, valibot, ArkType …)')
  if (typeof key !== 'function')
    throw invalid(type, 'its key must be a function that returns the id of the aggregate, ({ orderId }) => orderId')
  if (typeof codec?.encode !== 'function' || typeof codec.decode !== 'function')
    throw invalid(type, 'its codec must have encode and decode')
  if (!Number.isInteger(version) || version < 1) throw invalid(type, `its version must be a whole number from 1 on, got ${version}`)
  checkUpcasters(type, version, upcasters)
  return Object.freeze({ type, aggregate, topic, version, schema, upcasters: Object.freeze({ ...upcasters }), codec, untyped, key })
}

function checkUpcasters(type: string, version: number, upcasters: Readonly<Record<number, Upcaster>>): void {
  const steps = Object.keys(upcasters).map(Number)
  if (steps.length === 0) return
  const first = Math.min(...steps)
  const hole = Array.from({ length: Math.max(version - first, 0) }, (_, i) => first + i).find(
    (step) => typeof upcasters[step] !== 'function',
  )
  if (hole !== undefined) throw invalid(type, `the upcaster from version ${hole} to ${hole + 1} is missing`)
  const extra = steps.find((step) => !Number.isInteger(step) || step < 1 || step >= version)
  if (extra !== undefined) throw invalid(type, `the upcaster from version ${extra} leads beyond its version ${version}`)
}

function hasUnstorable(text: string): boolean {
  return /[\0\p{Surrogate}]/u.test(text)
}

function invalid(type: string, why: string): TidemarkError {
  return new TidemarkError('CONFIG_INVALID', `The event "${type}" cannot be defined: ${why}.`, { details: { type } })
}
