import assert from 'node:assert/strict'
import { type HandlerContext, type MessageHandler } from '../consumer/index.ts'
import { MessageChance } from '../consumer/batch/message-chance.ts'
import type { EventDefinition, MessageOf } from '../message/index.ts'
import type { Row, Transaction } from '../message/transaction.ts'
import { type Difference, difference } from './difference.ts'
import { schemaSnapshot } from './schema-snapshot.ts'

/** Where the handler's effects go: a service has both, on Postgres and in memory. */
export interface HandledTwiceTarget {
  transaction<T>(work: (tx: Transaction) => Promise<T>): Promise<T>
  query<R extends Row = Row>(text: string, params?: readonly unknown[]): Promise<R[]>
}

export interface HandledTwiceOptions<Definition extends EventDefinition> {
  /** For example the service. Nobody else may write to it meanwhile. */
  readonly on: HandledTwiceTarget
  readonly handler: MessageHandler<Definition>
  readonly message: MessageOf<Definition>
  /**
   * The state that must be the same after the second time. Anything that `deepEqual` compares; in memory `() => database.entries()`.
   * @default all rows of all tables of `schemas`, and how much was published
   */
  readonly snapshot?: () => unknown
  /** For Postgres, without `snapshot`. @default ['public'] */
  readonly schemas?: readonly string[]
  /** Columns to leave out, for example `['updated_at']` or `['orders.seen']`. @default none */
  readonly ignore?: readonly string[]
  /** Where Tidemark's own tables are, to see what the handler publishes. @default 'tidemark' */
  readonly schema?: string
}

/**
 * Checks that a handler is idempotent by nature, as `consume(…, { idempotent: 'natural' }, …)` claims: runs it with the same message twice, each in a
 * transaction of its own, and compares the state after the first time and after the second. Rejects with an `AssertionError` that lists what changed;
 * and with what the handler throws.
 *
 * The edge: one message and one state. A repeat that comes after newer messages of its key, which such a handler may see too, is another test: pass the message
 * when the newer ones have been handled, and compare with the state before.
 *
 * ```ts
 * await handledTwice({ on: stock, handler: reserve, message: testMessage(OrderPlaced, { orderId: 'o-1' }) })
 * ```
 */
export async function handledTwice<Definition extends EventDefinition>(options: HandledTwiceOptions<Definition>): Promise<void> {
  const look = options.snapshot ?? ((): unknown => schemaSnapshot(options.on, options))
  await run(options)
  const first = await look()
  await run(options)
  const second = await look()
  const found = difference(first, second)
  if (found.length > 0) throw new assert.AssertionError({ message: said(options.message, found), actual: second, expected: first })
}

function run<Definition extends EventDefinition>({ on, handler, message }: HandledTwiceOptions<Definition>): Promise<void> {
  return on.transaction(async (tx) => {
    await handler(message, contextOf(message, tx))
  })
}

/** Time, ids and chance are the same in both runs, as they are in a consumer. */
function contextOf({ source, id, time }: Pick<MessageOf<EventDefinition>, 'source' | 'id' | 'time'>, tx: Transaction): HandlerContext {
  const { now, uuid, random } = new MessageChance(`${source} ${id}`, time.getTime())
  return { tx, now, uuid, random, mode: 'live', attempt: 1, signal: new AbortController().signal }
}

/** More than that nobody reads. */
const mostLines = 20

function said({ type, id }: Pick<MessageOf<EventDefinition>, 'type' | 'id'>, found: readonly Difference[]): string {
  const lines = found.slice(0, mostLines).map(({ path, first, second }) => {
    const parts = [first === undefined ? [] : [`- ${first}`], second === undefined ? [] : [`+ ${second}`]].flat()
    return `  ${path}\n${parts.map((part) => `    ${part}`).join('\n')}`
  })
  const more = found.length > mostLines ? [`  … and ${found.length - mostLines} more`] : []
  return [
    `The handler is not idempotent by nature: ${type} ${id}, handled a second time, changed the state (- after the first time, + after the second).`,
    ...lines,
    ...more,
  ].join('\n')
}
