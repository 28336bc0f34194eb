import { TidemarkError } from '../errors.ts'
import type { EventDefinition, MessageOf } from '../message/index.ts'
import type { Message } from '../message/message.ts'
import type { Transaction } from '../message/transaction.ts'
import type { RetryPolicy } from '../retry/retry-policy.ts'
import type { RetryTopics } from '../retry/retry-topics.ts'
import type { DeadLetterPolicy } from './dead-letter-policy.ts'

/** What a handler gets beside the message. */
export interface HandlerContext {
  /** The batch's transaction: what is done through it commits with the position, once. Not for use after the handler has ended. */
  readonly tx: Transaction
  /** When the log took the message: the same in every run of it. */
  now(): Date
  /** A uuid (version 7 form) that is the same for the n-th call in every run of this message. */
  uuid(): string
  /** From 0 to below 1; the n-th call returns the same in every run of this message. */
  random(): number
  /** Whether this is the first way through the log, or a replay whose outside effects must not happen again. */
  readonly mode: 'live' | 'replay'
  /** Which charged run of this message it is, from 1. Runs at once after a failure count as the same. */
  readonly attempt: number
  /** Aborts when the outcome of this run does not matter any more: the partition was given up, or the batch will run again. */
  readonly signal: AbortSignal
}

export type MessageHandler<Definition extends EventDefinition = EventDefinition> = (
  message: MessageOf<Definition>,
  context: HandlerContext,
) => void | Promise<void>

export type BatchHandler<Definition extends EventDefinition = EventDefinition> = (
  messages: readonly MessageOf<Definition>[],
  context: HandlerContext,
) => void | Promise<void>

export interface HandlerOptions {
  /** Shown in dead letters. @default the event's type */
  readonly name?: string
  /** `message`: one transaction for each message, at the price of one commit for each. @default 'batch' */
  readonly transaction?: 'batch' | 'message'
  /** What a dead letter does to the messages behind it. @default that of the consumer, `block` */
  readonly deadLetter?: DeadLetterPolicy
  /**
   * Why a repeat of a message without a coordinate does no harm. `'inbox'`: its id is remembered with the handler's effects, so the handler does not see the
   * repeat. `'natural'`: handling it again leaves the same state, so no id is looked up or written, and the handler may see it again at any time,
   * after newer messages of its key too. `handledTwice` of `tidemark/testing` checks the claim. @default 'inbox'
   */
  readonly idempotent?: 'inbox' | 'natural'
  /** What goes before the consumer's policy. @default that of the consumer */
  readonly retry?: Partial<RetryPolicy>
  /** A run that takes longer has failed; its signal is aborted, and it is not waited for. @default that of the consumer, 30,000 ms */
  readonly timeoutMs?: number
}

/** An event with what handles it, as the consumer takes it. Make it with `onMessage` or `onBatch`. */
export interface Handler {
  readonly definition: EventDefinition
  readonly name: string
  readonly batch: boolean
  readonly transaction: 'batch' | 'message'
  readonly deadLetter: DeadLetterPolicy | undefined
  readonly idempotent: 'inbox' | 'natural'
  readonly retry: Partial<RetryPolicy> | undefined
  readonly timeoutMs: number | undefined
  run(messages: readonly Message[], context: HandlerContext): void | Promise<void>
}

/** Calls `handle` for every message of this event, in order within a key. */
export function onMessage<Definition extends EventDefinition>(
  definition: Definition,
  handle: MessageHandler<Definition>,
  options: HandlerOptions = {},
): Handler {
  // The consumer decodes with this very definition, so the data has its type.
  return make(definition, false, options, ([message], context) => handle(message as MessageOf<Definition>, context))
}

/** Calls `handle` once for each run of messages of this event in a batch, in order; for set-based effects. */
export function onBatch<Definition extends EventDefinition>(
  definition: Definition,
  handle: BatchHandler<Definition>,
  options: HandlerOptions = {},
): Handler {
  return make(definition, true, options, (messages, context) => handle(messages as readonly MessageOf<Definition>[], context))
}

function make(definition: EventDefinition, batch: boolean, options: HandlerOptions, run: Handler['run']): Handler {
  const { name = definition.type, transaction = 'batch', deadLetter, idempotent = 'inbox', retry, timeoutMs } = options
  return { definition, name, batch, transaction, deadLetter, idempotent, retry, timeoutMs, run }
}

/** Finds the handler of a record. */
export class Routes {
  /** By topic, then by type; `null` for what names no type. */
  readonly #byTopic = new Map<string, Map<string | null, Handler>>()

  readonly #retryTopics: RetryTopics

  /** Throws `CONFIG_INVALID` when two handlers want the same message: one group handles it once. */
  constructor(handlers: readonly Handler[], retryTopics: RetryTopics) {
    this.#retryTopics = retryTopics
    for (const handler of handlers) {
      const { topic, type, untyped } = handler.definition
      const types = this.#byTopic.get(topic) ?? new Map<string | null, Handler>()
      this.#byTopic.set(topic, types)
      if (untyped) {
        const other = types.get(null)
        if (other !== undefined && other.definition.type !== type) throw bothUntyped(topic, other.definition.type, type)
        types.set(null, handler)
      }
      if (types.has(type)) {
        throw new TidemarkError('CONFIG_INVALID', `Two handlers of one group for the event "${type}" of the topic ${topic}.`, {
          details: { topic, type },
          remedy: 'Give the second one a group of its own, or call both from one handler.',
        })
      }
      types.set(type, handler)
    }
  }

  /** Those of the events, and the retry topics beside them. */
  get topics(): readonly string[] {
    return [...this.#byTopic.keys(), ...this.#retryTopics.topics]
  }

  /** `null`: the record names no type. */
  find(topic: string, type: string | null): Handler | undefined {
    return (this.#byTopic.get(topic) ?? this.#byTopic.get(this.#retryTopics.tier(topic)?.source ?? ''))?.get(type)
  }
}

function bothUntyped(topic: string, one: string, other: string): TidemarkError {
  return new TidemarkError(
    'CONFIG_INVALID',
    `The events "${one}" and "${other}" of the topic ${topic} are both to be what names no type.`,
    {
      details: { topic, one, other },
      remedy: 'Take `untyped` from one of them, or give them groups of their own.',
    },
  )
}
