import { TidemarkError } from '../errors.ts'

/** Who acts. Tidemark has no logins: whoever calls it says who it is, and `authorize` decides what that is worth. */
export interface Actor {
  /** A name that people know, such as a login. */
  readonly id: string
  readonly roles: readonly string[]
}

/** What is acted on: `{ type: 'operation', id: '0199…' }`. `id` is `null` where it is not one thing, or not yet. */
export interface Target {
  readonly type: string
  readonly id: string | null
  /** Facts to decide by, such as the consumer group. Never a payload. */
  readonly details?: AuditDetails
}

/** Facts without payloads. */
export type AuditDetails = Readonly<Record<string, string | number | boolean | null | readonly string[]>>

/**
 * Asked before everything an operator does: may this actor do that? `false` refuses, and so does a rejection: who cannot be asked allows nothing.
 * Verbs are `<noun>.<verb>`: `dead-letter.redrive`, `dead-letter.view`, `operation.pause`. Treat those you do not know as the most dangerous one.
 */
export type Authorize = (actor: Actor, verb: string, target: Target) => boolean | Promise<boolean>

/** Everybody may do everything: where no `authorize` is given. */
export const allowAll: Authorize = () => true

/** By which door something was asked for. */
export type Origin = 'cli' | 'api' | 'console'

/** Throws `INPUT_INVALID` unless it is somebody. What came is not shown. */
export function checkActor(actor: unknown, reason: unknown): asserts actor is Actor {
  const { id, roles } = (typeof actor === 'object' && actor !== null ? actor : {}) as Partial<Actor>
  const isActor = typeof id === 'string' && id !== '' && Array.isArray(roles) && roles.every((role: unknown) => typeof role === 'string')
  if (!isActor)
    throw new TidemarkError('INPUT_INVALID', "Who does it is missing: expected an actor such as { id: 'ada', roles: ['operator'] }.")
  if (reason !== null && typeof reason !== 'string') throw new TidemarkError('INPUT_INVALID', 'A reason is a text.')
}
