/** A message as the outbox table holds it. Columns are those of Debezium's outbox router, plus `headers` (jsonb). */
export interface OutboxMessage {
  /** uuid */
  readonly id: string
  readonly aggregateType: string
  readonly aggregateId: string
  /** The event's type. */
  readonly type: string
  readonly payload: Buffer
  /**
   * Whatever varies from message to message, under its wire name: `ce_source`, `ce_time`, `ce_correlationid`, `ce_schemaversion`, and
   * where given `ce_subject`, `ce_causationid`, `ce_sequence`, `ce_aggregateversion`, `traceparent`; `content-type` if it is not
   * `application/json`; the event's own topic; the user's headers. What follows from the other columns is added by `recordHeaders`.
   */
  readonly headers: Readonly<Record<string, string>>
}
