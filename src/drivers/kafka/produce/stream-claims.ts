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
  const group = `${transactionalId}.owner`
  const mine: Owner = { life: sourceLife(claim.sourceEpoch).life, epoch: claim.epoch }
  const coordinator = await cluster.coordinator('group', group)
  const reply = await cluster.call(coordinator, offsetFetchV8.api, [[{ groupId: group, memberEpoch: -1, topics: null }], true])
  const found = reply.groups[0]!
  if (found.errorCode !== 0) {
    cluster.forgetCoordinator('group', group)
    throw protocolError(found.errorCode, `to say who owns the stream ${transactionalId}`)
  }
  const owners = found.topics.flatMap(({ partitions }) => partitions.flatMap(({ metadata }) => readOwner(metadata)))
  if (owners.some((owner) => compare(owner, mine) > 0)) return 'newer'
  const [topic] = [...claim.topics].sort()
  // Without a topic nothing was ever sent: there is nothing to protect yet, and nowhere to note it.
  if (topic === undefined) return 'ours'
  const partitions = [{ partitionIndex: 0, committedOffset: 0n, committedLeaderEpoch: -1, committedMetadata: `${mine.life}/${mine.epoch}` }]
  const noted = await cluster.call(coordinator, offsetCommitV9.api, [group, -1, '', null, [{ name: topic, partitions }]])
  const code = noted.topics[0]?.partitions[0]?.errorCode ?? 0
  if (code !== 0) {
    cluster.forgetCoordinator('group', group)
    throw protocolError(code, `to note who owns the stream ${transactionalId}`)
  }
  return 'ours'
}

function readOwner(metadata: string | null | undefined): Owner[] {
  const [, life, epoch] = /^(\d+)\/(\d+)$/.exec(metadata ?? '') ?? []
  return life === undefined ? [] : [{ life: Number(life), epoch: Number(epoch) }]
}

function compare(a: Owner, b: Owner): number {
  return a.life - b.life || a.epoch - b.epoch
}
