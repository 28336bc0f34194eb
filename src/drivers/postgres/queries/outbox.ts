import { TidemarkError } from '../../../errors.ts'
import { crashPoint } from '../../../internal/crash-point.ts'
import type { OutboxMessage } from '../../../message/outbox-message.ts'
import type { Transaction } from '../../../message/transaction.ts'
import { defaultSchema, quotedSchema } from '../migrations/schema-name.ts'
import type { Statement } from '../statement-run.ts'

/** How messages are appended. */
export interface AppendOptions {
  /** @default 'tidemark' */
  readonly schema?: string
  /**
   * The caller states that it holds a row lock, to the end of its transaction, that every other publisher of these keys takes first: the
   * aggregate's own row, say. Saves the advisory locks. Stated wrongly, messages of one key may be published out of commit order.
   * @default false
   */
  readonly keyLocked?: boolean
}

/** The first number of our two-number advisory locks, so that they meet nobody else's ("tide" in ASCII). `outbox_append` has it, too. */
const lockClass = 0x74696465

/** Rows and bytes of one insert: large enough that the round trip does not count, small enough for the memory of client and server. */
const chunkRows = 1_000
const chunkBytes = 1_000_000

/**
 * The statements that add messages at the end of an open transaction: first the locks of all their keys, in the order of the locks' numbers,
 * then the rows in the given order. A number is drawn only when its key is locked, so within one key numbers rise in the order of the commits.
 *
 * Two calls in one transaction can deadlock with another such transaction: pass all messages at once.
 */
export function appendStatements(schema: string, messages: readonly OutboxMessage[], keyLocked = false): Statement[] {
  return [...statementsFor(quotedSchema(schema), messages, keyLocked)]
}

/** As `appendStatements`, run one after the other in any client's transaction, so that at most one chunk of it is in memory a second time. */
export async function append(tx: Transaction, messages: readonly OutboxMessage[], options: AppendOptions = {}): Promise<void> {
  const schema = quotedSchema(options.schema ?? defaultSchema)
  try {
    crashPoint('publish:before-append')
    for (const { text, params } of statementsFor(schema, messages, options.keyLocked ?? false)) await tx.query(text, params)
    crashPoint('publish:after-append')
  } catch (error) {
    throw appendError(error)
  }
}

/** Gives the error of an append its name where it has one of ours. */
export function appendError(error: unknown): unknown {
  if (!(error instanceof Error && 'code' in error)) return error
  // The only check the parent table has is that a partition takes the number.
  if (error.code !== '23514' || !/no partition of relation/.test(error.message)) return error
  return new TidemarkError('OUTBOX_EXHAUSTED', 'The outbox has no partition for its next number.', {
    cause: error,
    remedy: 'A running relay makes partitions ahead. Start one whose role owns the tables.',
  })
}

function* statementsFor(schema: string, messages: readonly OutboxMessage[], keyLocked: boolean): Generator<Statement> {
  if (messages.length === 1) return yield insertOne(schema, messages[0]!, keyLocked)
  const keys = distinctKeys(messages)
  // The lock of a single key fits into its insert, which saves a foreign client a round trip.
  let lock = !keyLocked && keys.types.length === 1
  if (!keyLocked && keys.types.length > 1) yield lockKeys(schema, keys)
  for (const chunk of chunks(messages)) {
    yield insertMany(schema, chunk, lock)
    lock = false
  }
}

// Headers go as text, which every client sends as it is: some would encode a jsonb parameter once more.
function insertOne(schema: string, message: OutboxMessage, keyLocked: boolean): Statement {
  const { id, aggregateType, aggregateId, type, payload, headers } = message
  return {
    text: `select ${schema}.outbox_append($1::uuid, $2::text, $3::text, $4::text, $5::bytea, $6::text, $7::boolean)`,
    params: [id, aggregateType, aggregateId, type, payload, JSON.stringify(headers), keyLocked],
  }
}

/** `unnest` gives the rows in the arrays' order, and the numbers are drawn in the order of the rows. */
function insertMany(schema: string, messages: readonly OutboxMessage[], locking: boolean): Statement {
  const rows = 'unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::text[]) as m(a, b, c, d, e, f)'
  const insert = `insert into ${schema}.outbox (id, aggregatetype, aggregateid, type, payload, headers) select m.a, m.b, m.c, m.d, m.e, m.f::jsonb from`
  return {
    text: locking ? `${lockedFirst(schema, '($2::text[])[1], ($3::text[])[1]')} ${insert} locked, ${rows}` : `${insert} ${rows}`,
    params: [
      messages.map(({ id }) => id),
      messages.map(({ aggregateType }) => aggregateType),
      messages.map(({ aggregateId }) => aggregateId),
      messages.map(({ type }) => type),
      messages.map(({ payload }) => payload),
      messages.map(({ headers }) => JSON.stringify(headers)),
    ],
  }
}

/** The lock is taken before the first row comes out of the join with it, and only then are xid and number drawn. A test reads the plan. */
function lockedFirst(schema: string, key: string): string {
  return `with locked as materialized (select pg_advisory_xact_lock(${lockClass}, ${schema}.outbox_stripe(${key})))`
}

/** Made distinct and sorted by the server, which alone computes the stripe; OFFSET 0 keeps the sort below the locking. */
function lockKeys(schema: string, { types, ids }: Keys): Statement {
  const stripes = `select distinct ${schema}.outbox_stripe(t, k) as stripe from unnest($1::text[], $2::text[]) as x(t, k) order by 1 offset 0`
  return { text: `select count(pg_advisory_xact_lock(${lockClass}, stripe)) from (${stripes}) s`, params: [types, ids] }
}

interface Keys {
  readonly types: readonly string[]
  readonly ids: readonly string[]
}

function distinctKeys(messages: readonly OutboxMessage[]): Keys {
  const byType = new Map<string, Set<string>>()
  const types: string[] = []
  const ids: string[] = []
  for (const { aggregateType, aggregateId } of messages) {
    let known = byType.get(aggregateType)
    if (known === undefined) byType.set(aggregateType, (known = new Set()))
    if (known.has(aggregateId)) continue
    known.add(aggregateId)
    types.push(aggregateType)
    ids.push(aggregateId)
  }
  return { types, ids }
}

function* chunks(messages: readonly OutboxMessage[]): Generator<readonly OutboxMessage[]> {
  let start = 0
  let bytes = 0
  for (let i = 0; i < messages.length; i++) {
    bytes += messages[i]!.payload.length
    if (i + 1 - start < chunkRows && bytes < chunkBytes) continue
    yield messages.slice(start, i + 1)
    start = i + 1
    bytes = 0
  }
  if (start < messages.length) yield messages.slice(start)
}
