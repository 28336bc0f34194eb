import { createHash } from 'node:crypto'

/** The key that a message without one waits under: the same for the same message, and no other message's. */
export function madeUpKey(place: { readonly group: string; readonly topicId: string; readonly partition: number }, offset: number): Buffer {
  const { group, topicId, partition } = place
  return createHash('sha256')
    .update(JSON.stringify(['keyless', group, topicId, partition, offset]))
    .digest()
}
