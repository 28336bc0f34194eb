import type { GroupReply, GroupRequest } from './group-request.ts'
import type { Telling } from './holdings.ts'

/** What happened. A request is known by its number. */
export type GroupEvent =
  | { readonly type: 'tick' }
  | { readonly type: 'poke' }
  | { readonly type: 'leave' }
  | { readonly type: 'drained'; readonly drain: number }
  | Settled

/** How a request ended. */
export type Settled =
  | { readonly type: 'reply'; readonly request: number; readonly reply: GroupReply }
  | { readonly type: 'rejected'; readonly request: number; readonly error: unknown }

/** What is to be done now, in this order. */
export type GroupCommand =
  | Telling
  | { readonly do: 'send'; readonly request: number; readonly what: GroupRequest }
  /** Look for the coordinator anew before the next request to it. */
  | { readonly do: 'forget coordinator' }
  /** What waits at the coordinator for other members is no longer wanted. */
  | { readonly do: 'drop' }
  /** The group knows this member. */
  | { readonly do: 'accepted' }
  /** The end, without partitions. */
  | { readonly do: 'failed'; readonly error: unknown }
  | { readonly do: 'left' }

/** How a member is known to its group at the moment. `generation` is the member epoch in the newer protocol. */
export interface GroupIdentity {
  readonly memberId: string
  readonly generation: number
}
