import type { GroupReply, GroupRequest } from '../../../../src/drivers/kafka/group/group-request.ts'

/** A broker's side of a group protocol. The reply may come much later, or never. */
export interface ModelCoordinator {
  receive(request: GroupRequest, reply: (reply: GroupReply) => void): void
  /** Ids of the present members. */
  members(): readonly string[]
}

/** What a model knows of a member's settings. */
export interface ModelTimes {
  readonly sessionTimeoutMs: number
  readonly rebalanceTimeoutMs: number
}
