import { sourceLife } from '../../../message/page.ts'
import type { StreamClaim } from '../../../message/port.ts'
import { offsetCommitV9, offsetFetchV8 } from '../client.ts'
import type { Cluster } from '../wire/cluster.ts'
import { protocolError } from '../wire/protocol-error.ts'

interface Owner {
  readonly life: number
  readonly epoch: number
}

/**
 * Notes who owns a fenced stream, and says if somebody newer was noted before. A transactional id alone lets the last one who asks win, also an owner that woke
 * up late; so the owner's epoch is kept beside it, as the metadata of an offset of a group that has no members. To be called after the
 * transactional id was taken: whoever is older cannot write then between the look and the note.
 */
export async function claimStream(cluster: Cluster, transactionalId: string, claim: StreamClaim): Promise<'ours' | 'newer'> {
  if (await hasNewerOwner(cluster, transactionalId, claim)) return 'newer'
  const [topic] = [...claim.topics].sort()
  // Without a topic nothing was ever sent: there is nothing to protect yet, and nowhere to note it.
  if (topic === undefined) return 'ours'
  const { life, epoch } = ownerOf(claim)
  const partitions = [{ partitionIndex: 0, committedOffset: 0n, committedLeaderEpoch: -1, committedMetadata: `${life}/${epoch}` }]
  const codeOf = (noted: { readonly topics: readonly { readonly partitions: readonly { readonly errorCode: number }[] }[] }): number =>
    noted.topics[0]?.partitions[0]?.errorCode ?? 0
  const noted = await cluster.askCoordinator(
    'group',
    groupOf(transactionalId),
    (node) => cluster.call(node, offsetCommitV9.api, [groupOf(transactionalId), -1, '', null, [{ name: topic, partitions }]]),
    codeOf,
  )
  if (codeOf(noted) !== 0) throw protocolError(codeOf(noted), `to note who owns the stream ${transactionalId}`)
  return 'ours'
}

/** Was an owner noted that is newer than the claim's? */
export async function hasNewerOwner(cluster: Cluster, transactionalId: string, claim: StreamClaim): Promise<boolean> {
  const group = groupOf(transactionalId)
  const reply = await cluster.askCoordinator(
    'group',
    group,
    (node) => cluster.call(node, offsetFetchV8.api, [[{ groupId: group, memberEpoch: -1, topics: null }], true]),
    ({ groups }) => groups[0]?.errorCode ?? 0,
  )
  const found = reply.groups[0]!
  if (found.errorCode !== 0) throw protocolError(found.errorCode, `to say who owns the stream ${transactionalId}`)
  const owners = found.topics.flatMap(({ partitions }) => partitions.flatMap(({ metadata }) => readOwner(metadata)))
  return owners.some((owner) => compare(owner, ownerOf(claim)) > 0)
}

function groupOf(transactionalId: string): string {
  return `${transactionalId}.owner`
}

function ownerOf({ sourceEpoch, epoch }: StreamClaim): Owner {
  return { life: sourceLife(sourceEpoch).life, epoch }
}

function readOwner(metadata: string | null | undefined): Owner[] {
  const [, life, epoch] = /^(\d+)\/(\d+)$/.exec(metadata ?? '') ?? []
  return life === undefined ? [] : [{ life: Number(life), epoch: Number(epoch) }]
}

function compare(a: Owner, b: Owner): number {
  return a.life - b.life || a.epoch - b.epoch
}
