import type { Coordinate } from './coordinate.ts'
import type { TidemarkError } from '../errors.ts'

/** What a message's identity was taken from. `position` identities repeat what the position already tells: no inbox needs them. */
export type IdentityOrigin = 'cloudevents' | 'router' | 'option' | 'body' | 'position'

/**
 * What can be said of a record without knowing its event: enough to dispatch it, to recognise a repeat and to keep its order. Reading one
 * never fails for what a foreign program wrote; what is wrong stands in `undecodable`. Members may be computed when first asked for, so do
 * not spread an envelope: keep the record, and read it again.
 */
export interface Envelope {
  readonly id: string
  readonly source: string
  /**
   * Same identity, same message: `source` and `id` with a blank between, whichever relay and form brought it. NUL characters, which no
   * Postgres text can hold, are replaced in all three.
   */
  readonly identity: string
  readonly identityOrigin: IdentityOrigin
  /** `null` when the record names none. */
  readonly type: string | null
  readonly coordinate: Coordinate | null
  readonly schemaVersion: number
  readonly key: string | null
  readonly subject: string | undefined
  readonly time: Date
  readonly correlationId: string
  readonly causationId: string | undefined
  readonly traceparent: string | undefined
  readonly headers: Readonly<Record<string, string>>
  readonly sequenceNumber: number | undefined
  readonly aggregateVersion: number | undefined
  /** Media type of `body`; `null` where the record names none. */
  readonly contentType: string | null
  /** Bytes of the data. `null` when there are none, or when they are in `parsed`. */
  readonly body: Buffer | null
  /** The data, where the record's value was JSON with the data inside. */
  readonly parsed: { readonly data: unknown } | undefined
  readonly topic: string
  readonly partition: number
  readonly offset: number
  /** Why the data cannot be had. The record's bytes are what should be kept. */
  readonly undecodable: TidemarkError | undefined
}
