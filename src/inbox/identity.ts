import { createHash } from 'node:crypto'

/** Longer ones would not fit an index; a hash stands for them. */
const longestPlain = 256

/** The form in which the inbox keeps an identity: itself where it is short and plain, else its sha256. */
export function inboxIdentity(identity: string): string {
  if (identity.length <= longestPlain && /^[\x20-\x7e]*$/.test(identity)) return identity
  return `sha256:${createHash('sha256').update(identity).digest('hex')}`
}
