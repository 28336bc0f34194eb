import type { GroupCoordinator } from '../../../message/group/group-member.ts'
import { type Heartbeat, type HeartbeatReply, heartbeat } from '../../../message/group/group-state.ts'
import { lockGroup, partitionsOf, quietBeat, writeGroup } from '../queries/log-group.ts'
import type { LogStore } from './log-store.ts'

/** How long a process may stand still while it holds a group's lock, before the server ends its connection. */
const patienceMs = 2_000

export interface LogGroupParts {
  readonly store: LogStore
  readonly group: string
  readonly memberId: string
  /** The group changed by this member's beat: others of this process should look. */
  readonly changed: () => void
}

/**
 * One member's view of a group that lives in tables. A beat is one transaction under the group's row lock, in which the pure protocol runs;
 * a beat that has nothing to say and finds the group unchanged is a single statement without that lock.
 */
export class LogGroup implements GroupCoordinator {
  readonly #parts: LogGroupParts
  /** The version as of our last look, and what was answered then. */
  #known: { readonly version: number; readonly reply: HeartbeatReply } | null = null

  constructor(parts: LogGroupParts) {
    this.#parts = parts
  }

  async beat(beat: Omit<Heartbeat, 'now' | 'memberId'>): Promise<HeartbeatReply> {
    const { store, group, memberId, changed } = this.#parts
    const known = this.#known
    if (known !== null && beat.join === undefined && beat.leaving !== true && beat.released.length === 0) {
      if (await store.use((session, schema) => quietBeat(session, schema, group, memberId, known.version))) return known.reply
    }
    this.#known = null
    const looked = await store.transaction(async (session, schema) => {
      const read = await lockGroup(session, schema, group, patienceMs)
      const topics = new Set([...read.state.members.flatMap((member) => member.topics), ...(beat.join?.topics ?? [])])
      const existing = await partitionsOf(session, schema, [...topics])
      const { state, reply } = heartbeat(read.state, { ...beat, now: read.now, memberId }, existing)
      const wrote = await writeGroup(session, schema, group, read.state, state, memberId)
      return { version: read.version + (wrote ? 1 : 0), reply, wrote }
    })
    // While something waits for its turn every beat has to look, since what it waits for may be a claim of its own.
    const settled = looked.reply.status === 'member' && !looked.reply.waiting && looked.reply.revoking.length === 0 && beat.claim
    if (settled) this.#known = { version: looked.version, reply: looked.reply }
    if (looked.wrote) changed()
    return looked.reply
  }
}
