import { createHash } from 'node:crypto'
import type { Message } from '../message/message.ts'
import { inboxIdentity } from './identity.ts'
import type { LedgerKey } from './port.ts'

/** What says which message it is. */
export type MessageIdentity = Pick<Message, 'source' | 'id'>

/** The entry of one step of a message. */
export function ledgerKey(scope: string, { source, id }: MessageIdentity, step: string): LedgerKey {
  // The inbox's form of the same identity, so that one name finds a message in both.
  return { scope: inboxIdentity(scope), identity: inboxIdentity(`${source} ${id}`), step: inboxIdentity(step) }
}

/**
 * The key to send to the other side: a uuid (version 8) made of group, message and step alone, so the same in every retry, redrive and replay, whoever
 * runs it, and another one for every other step, message and group.
 */
export function idempotencyKey({ scope, identity, step }: LedgerKey): string {
  const bytes = createHash('sha256')
    .update(JSON.stringify(['tidemark', scope, identity, step]))
    .digest()
  bytes[6] = (bytes[6]! & 0x0f) | 0x80
  bytes[8] = (bytes[8]! & 0x3f) | 0x80
  return bytes.toString('hex', 0, 16).replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
}
