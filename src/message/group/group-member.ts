import { TidemarkError } from '../../errors.ts'
import type { Clock } from '../../internal/clock.ts'
import type { AssignedPartition, AssignmentListener } from '../port.ts'
import { type Heartbeat, type HeartbeatReply, partitionKey } from './group-state.ts'

/** Where the group's state lives. Rejections that are retryable are tried again. */
export interface GroupCoordinator {
  beat(heartbeat: Omit<Heartbeat, 'now' | 'memberId'>): Promise<HeartbeatReply>
}

export interface GroupMemberOptions {
  readonly coordinator: GroupCoordinator
  readonly joining: NonNullable<Heartbeat['join']>
  readonly listener: AssignmentListener
  readonly clock: Clock
}

/** Often enough that a join or a leave elsewhere is noticed within a second; a session outlives two lost beats in any case. */
const longestBeatMs = 1_000
/** While a partition is about to change hands. */
const pendingBeatMs = 50

/**
 * One member's side of a group: beats, and tells the listener what follows from the answers, one thing at a time.
 * Every partition it knows is in one of three places: held (the listener's), draining (`revoked` was called), drained (to be given back by the next beat).
 */
export class GroupMember {
  readonly #options: GroupMemberOptions
  readonly #held = new Map<string, AssignedPartition>()
  readonly #draining = new Map<string, AssignedPartition>()
  readonly #drained = new Map<string, AssignedPartition>()
  #joined = false
  #state: 'member' | 'leaving' | 'ended' = 'member'
  #beating: Promise<void> | null = null
  /** Something meant for this member is not free yet. */
  #pending = false
  #again = false
  #failures = 0
  #cancelTimer: () => void = () => undefined
  #left: Promise<void> | null = null
  #onDrained: () => void = () => undefined

  constructor(options: GroupMemberOptions) {
    this.#options = options
  }

  /** Joins by a first beat; rejects with its error. Beats go on by themselves from then on. */
  async join(): Promise<void> {
    this.#apply(await this.#options.coordinator.beat({ join: this.#options.joining, released: [], claim: true }))
    this.#schedule()
  }

  /** Beats now, or right after the beat under way. */
  poke(): void {
    if (!this.#joined || this.#state === 'ended') return
    this.#cancelTimer()
    if (this.#beating !== null) this.#again = true
    else this.#startBeat()
  }

  /** Drains what is held, gives it back and leaves. Never rejects. */
  leave(): Promise<void> {
    this.#left ??= this.#leave()
    return this.#left
  }

  /** Ends without a word to anybody; the session will expire. */
  end(): void {
    this.#state = 'ended'
    this.#cancelTimer()
    this.#onDrained()
  }

  async #leave(): Promise<void> {
    if (this.#state === 'ended') return
    this.#state = 'leaving'
    if (this.#held.size + this.#draining.size > 0) {
      const drained = new Promise<void>((resolve) => (this.#onDrained = resolve))
      const cancel = this.#options.clock.after(this.#options.joining.drainTimeoutMs, this.#onDrained)
      if (this.#draining.size === 0) this.#drain([...this.#held.values()])
      await drained
      cancel()
    }
    const ended = (this.#state as string) === 'ended'
    this.end()
    await this.#beating
    if (!ended) await this.#options.coordinator.beat({ leaving: true, released: [], claim: false }).catch(() => undefined)
  }

  #startBeat(): void {
    this.#again = false
    this.#beating = this.#beat().then(() => {
      this.#beating = null
      this.#schedule()
    })
  }

  async #beat(): Promise<void> {
    const released = [...this.#drained.entries()]
    try {
      const reply = await this.#options.coordinator.beat({
        ...(this.#joined ? {} : { join: this.#options.joining }),
        released: released.map(([, partition]) => partition),
        claim: this.#draining.size === 0 && this.#state === 'member',
      })
      for (const [key] of released) this.#drained.delete(key)
      this.#failures = 0
      if (this.#state !== 'ended') this.#apply(reply)
    } catch (error) {
      this.#failures += 1
      if (!(TidemarkError.is(error) && error.retryable)) this.#fail(error)
    }
  }

  #schedule(): void {
    if (this.#state === 'ended') return
    this.#cancelTimer()
    if (this.#again && this.#failures === 0) return this.#startBeat()
    this.#cancelTimer = this.#options.clock.after(this.#delayMs(), () => this.#startBeat())
  }

  #delayMs(): number {
    const beatMs = Math.min(longestBeatMs, this.#options.joining.sessionTimeoutMs / 3)
    if (this.#failures > 0) return Math.min(beatMs, 50 * 2 ** this.#failures)
    return this.#pending || this.#draining.size > 0 ? Math.min(beatMs, pendingBeatMs) : beatMs
  }

  #apply(reply: HeartbeatReply): void {
    if (reply.status === 'unknown') return this.#expired()
    this.#joined = true
    this.#pending = reply.waiting
    const owned = new Map([...reply.owned, ...reply.revoking].map((partition) => [partitionKey(partition), partition]))
    this.#lose([...this.#held, ...this.#draining].filter(([key]) => !owned.has(key)))
    if (this.#state !== 'member') return
    const gained = reply.owned.filter((partition) => !this.#knows(partitionKey(partition)))
    if (gained.length > 0 && this.#draining.size === 0) {
      for (const partition of gained) this.#held.set(partitionKey(partition), partition)
      this.#tell(() => this.#options.listener.assigned(gained))
    }
    const going = reply.revoking.filter((partition) => this.#held.has(partitionKey(partition)))
    if (going.length > 0 && this.#draining.size === 0) this.#drain(going)
  }

  #knows(key: string): boolean {
    return this.#held.has(key) || this.#draining.has(key) || this.#drained.has(key)
  }

  #drain(partitions: readonly AssignedPartition[]): void {
    for (const partition of partitions) {
      this.#held.delete(partitionKey(partition))
      this.#draining.set(partitionKey(partition), partition)
    }
    const revoked = async (): Promise<void> => this.#options.listener.revoked(partitions)
    void revoked()
      .catch(() => undefined)
      .then(() => {
        for (const partition of partitions) {
          // Lost meanwhile: nothing to give back.
          if (this.#draining.delete(partitionKey(partition))) this.#drained.set(partitionKey(partition), partition)
        }
        if (this.#state === 'leaving') {
          if (this.#held.size > 0) this.#drain([...this.#held.values()])
          else this.#onDrained()
        } else this.poke()
      })
  }

  #expired(): void {
    this.#joined = false
    this.#drained.clear()
    this.#lose([...this.#held, ...this.#draining])
    if (this.#state === 'leaving') this.#onDrained()
    else this.#again = true
  }

  #lose(entries: readonly (readonly [string, AssignedPartition])[]): void {
    if (entries.length === 0) return
    for (const [key] of entries) {
      this.#held.delete(key)
      this.#draining.delete(key)
    }
    this.#tell(() => this.#options.listener.lost(entries.map(([, partition]) => partition)))
  }

  #fail(error: unknown): void {
    this.#held.clear()
    this.#draining.clear()
    this.end()
    this.#tell(() => this.#options.listener.failed(error))
  }

  #tell(call: () => void): void {
    try {
      call()
    } catch {
      // The listener's own affair: the group goes on.
    }
  }
}
