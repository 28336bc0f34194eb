/** A row as a driver returns it. */
export type Row = Record<string, unknown>

/**
 * A transaction as Tidemark sees it: the two members it needs of any client.
 *
 * Whoever began the transaction ends it. Tidemark never commits what it did not begin.
 */
export interface Transaction<Raw = unknown> {
  /** Runs one statement with `$1`-style parameters and returns its rows. Rejects with the driver's error. */
  query<R extends Row = Row>(text: string, params?: readonly unknown[]): Promise<R[]>
  /** The client's own transaction or connection, for whatever `query` does not offer. */
  readonly raw: Raw
}
