/** A message as a publisher hands it to the outbox, already validated and encoded. */
export interface OutboxMessage {
  /** uuid v7. */
  readonly id: string
  readonly aggregateType: string
  /** The key: messages with one `aggregateType` and `aggregateId` keep their commit order. */
  readonly aggregateId: string
  readonly type: string
  readonly payload: Buffer
  /** Everything that travels as a header and is not derived from the columns: the variable CloudEvents attributes and the user's own. */
  readonly headers: Readonly<Record<string, string>>
}
