import type { AssignedPartition } from '../port.ts'
import { balance } from './balance.ts'

/** A member as its group knows it. */
export interface GroupMemberState {
  readonly id: string
  readonly clientId: string | null
  readonly topics: readonly string[]
  readonly sessionTimeoutMs: number
  readonly drainTimeoutMs: number
  readonly heartbeatAt: number
}

/** A partition in a group: who reads it, and who is to. They differ while the owner drains. */
export interface GroupPartition extends AssignedPartition {
  readonly owner: string | null
  readonly target: string | null
  /** From this moment on the owner is no longer waited for. */
  readonly giveAwayAt: number | null
}

export interface GroupState {
  /** In the order of joining. */
  readonly members: readonly GroupMemberState[]
  readonly partitions: readonly GroupPartition[]
}

/** What a member says to its group. */
export interface Heartbeat {
  readonly now: number
  readonly memberId: string
  /** Given when joining, for the first time or after having expired. */
  readonly join?: Omit<GroupMemberState, 'id' | 'heartbeatAt'>
  readonly leaving?: boolean
  /** Drained, and given back. */
  readonly released: readonly AssignedPartition[]
  /** Take what is free and meant for this member. */
  readonly claim: boolean
}

/** What the group answers. `unknown`: the session has expired, nothing is owned. */
export type HeartbeatReply =
  | { readonly status: 'unknown' }
  | {
      readonly status: 'member'
      readonly owned: readonly AssignedPartition[]
      /** Owned still, meant for somebody else: drain and give back. */
      readonly revoking: readonly AssignedPartition[]
      /** Something meant for this member is not free yet. */
      readonly waiting: boolean
    }

/** Identity of a partition across topics made anew. */
export function partitionKey({ topicId, partition }: Pick<AssignedPartition, 'topicId' | 'partition'>): string {
  return `${topicId}/${partition}`
}

/**
 * One heartbeat: expires silent members, gives back what was released or drained too long, finds new targets when members or partitions changed, and
 * claims. Pure; `existing` are the partitions of all topics that any member names. Rows that do not change are the same objects afterwards.
 *
 * A partition changes hands in three heartbeats: one sets the target, the owner's releases, the next of the target claims. So at no time
 * two members own it, unless the owner let a deadline pass.
 */
export function heartbeat(
  state: GroupState,
  beat: Heartbeat,
  existing: readonly AssignedPartition[],
): { readonly state: GroupState; readonly reply: HeartbeatReply } {
  const { now, memberId } = beat
  const members = membersAfter(state.members, beat)
  const known = members.some(({ id }) => id === memberId)
  const released = new Set(beat.released.map(partitionKey))
  const alive = new Set(members.map(({ id }) => id))

  let partitions = samePartitions(state.partitions, existing).map((row) => {
    if (row.owner === null) return row
    const gone =
      !alive.has(row.owner) ||
      (row.owner === memberId && released.has(partitionKey(row))) ||
      (row.giveAwayAt !== null && row.giveAwayAt <= now)
    return gone ? { ...row, owner: null, giveAwayAt: null } : row
  })
  if (
    sameMembers(members, state.members) === false ||
    partitions.length !== state.partitions.length ||
    partitions.some((row) => row.target === null)
  ) {
    const targets = balance(members, partitions)
    partitions = partitions.map((row, i) => (row.target === targets[i] ? row : { ...row, target: targets[i]! }))
  }
  const timeouts = new Map(members.map(({ id, drainTimeoutMs }) => [id, drainTimeoutMs]))
  partitions = partitions.map((row) => {
    if (beat.claim && known && row.owner === null && row.target === memberId) return { ...row, owner: memberId, giveAwayAt: null }
    if (row.owner === null || row.owner === row.target) return row.giveAwayAt === null ? row : { ...row, giveAwayAt: null }
    return row.giveAwayAt === null ? { ...row, giveAwayAt: now + timeouts.get(row.owner)! } : row
  })
  return { state: { members, partitions }, reply: known ? replyTo(memberId, partitions) : { status: 'unknown' } }
}

function membersAfter(members: readonly GroupMemberState[], { now, memberId, join, leaving }: Heartbeat): GroupMemberState[] {
  const rest = members
    .filter(({ id, heartbeatAt, sessionTimeoutMs }) => (id === memberId ? leaving !== true : heartbeatAt + sessionTimeoutMs >= now))
    .map((member) => (member.id === memberId ? { ...member, heartbeatAt: now } : member))
  if (join === undefined || leaving === true || rest.some(({ id }) => id === memberId)) return rest
  return [...rest, { ...join, id: memberId, heartbeatAt: now }]
}

function sameMembers(a: readonly GroupMemberState[], b: readonly GroupMemberState[]): boolean {
  return a.length === b.length && a.every(({ id }, i) => id === b[i]!.id)
}

function samePartitions(rows: readonly GroupPartition[], existing: readonly AssignedPartition[]): GroupPartition[] {
  const byKey = new Map(rows.map((row) => [partitionKey(row), row]))
  return existing.map((one) => byKey.get(partitionKey(one)) ?? { ...one, owner: null, target: null, giveAwayAt: null })
}

function replyTo(memberId: string, partitions: readonly GroupPartition[]): HeartbeatReply {
  const mine = partitions.filter(({ owner }) => owner === memberId)
  return {
    status: 'member',
    owned: mine.filter(({ target }) => target === memberId).map(assignedPartition),
    revoking: mine.filter(({ target }) => target !== memberId).map(assignedPartition),
    waiting: partitions.some(({ owner, target }) => target === memberId && owner !== memberId),
  }
}

function assignedPartition({ topic, topicId, partition }: AssignedPartition): AssignedPartition {
  return { topic, topicId, partition }
}
