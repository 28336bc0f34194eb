/** A row as a driver returns it. */
export type Row = Record<string, unknown>

/**
 * A transaction as Tidemark sees it: the two members it needs of any client.
 *
 * Whoever began the transaction ends it. Tidemark never commits what it did not begin.
 */
export interface Transaction<Raw = unknown> {
  /**
   * Runs one statement with `$1`-style parameters and returns its rows. Rejects with the driver's error.
   *
   * In a transaction that Tidemark began, send commands on savepoints here, each by itself: what was published since a savepoint is then taken
   * back together with the rows.
   */
  query<R extends Row = Row>(text: string, params?: readonly unknown[]): Promise<R[]>
  /**
   * The client's own transaction or connection, for whatever `query` does not offer. Tidemark does not see what happens there: in a transaction
   * that it began, a rollback to a savepoint by the client leaves what was published since then in place, and it would be sent.
   */
  readonly raw: Raw
}
