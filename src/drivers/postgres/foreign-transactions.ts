import { prepareValue } from 'pg/lib/utils.js'
import { TidemarkError } from '../../errors.ts'
import type { Row, Transaction } from '../../message/transaction.ts'

/** What is called of a `pg` client. A type test holds it against the real one. */
export interface PgQueryable {
  query(text: string, values?: unknown[]): Promise<{ readonly rows: unknown[] }>
}

/**
 * A `pg` client inside its open transaction, for publishing in it. You begin and end the transaction.
 *
 * ```ts
 * await client.query('begin')
 * await client.query('update orders …')
 * await shop.publish(pgTransaction(client), OrderPlaced, order)
 * await client.query('commit')
 * ```
 *
 * Throws `INPUT_INVALID` for a pool: each of its queries may run on another connection, outside your transaction.
 */
export function pgTransaction<Client extends PgQueryable>(client: Client): Transaction<Client> {
  if ('totalCount' in client) {
    throw new TidemarkError('INPUT_INVALID', 'pgTransaction takes a client, got a pool.', {
      remedy: 'Use const client = await pool.connect().',
    })
  }
  return {
    raw: client,
    query: async <R extends Row>(text: string, params: readonly unknown[] = []) => (await client.query(text, [...params])).rows as R[],
  }
}

/** What is called of the `sql` that `postgres.js` hands to `sql.begin`. A type test holds it against the real one. */
export interface PostgresJsSql {
  unsafe(text: string, params?: (string | Buffer | null)[]): PromiseLike<readonly Row[]>
  savepoint: unknown
}

/**
 * A transaction of `postgres.js`, for publishing in it.
 *
 * ```ts
 * await sql.begin(async (sql) => {
 *   await sql`update orders …`
 *   await shop.publish(postgresJsTransaction(sql), OrderPlaced, order)
 * })
 * ```
 */
export function postgresJsTransaction<Sql extends PostgresJsSql>(sql: Sql): Transaction<Sql> {
  if (typeof sql.savepoint !== 'function') {
    throw new TidemarkError('INPUT_INVALID', 'postgresJsTransaction takes the sql of a transaction, got one outside.', {
      remedy: 'Use the sql that sql.begin hands to its callback.',
    })
  }
  return {
    raw: sql,
    // In wire form: arrays as text, so that nothing depends on the array types the client has learned.
    query: async <R extends Row>(text: string, params: readonly unknown[] = []) =>
      [...(await sql.unsafe(text, params.map(prepareValue)))] as R[],
  }
}
