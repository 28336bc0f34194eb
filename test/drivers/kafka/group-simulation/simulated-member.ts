import assert from 'node:assert/strict'
import { TidemarkError } from '../../../../src/errors.ts'
import type { GroupCommand, GroupEvent } from '../../../../src/drivers/kafka/group/group-event.ts'
import type { GroupProtocol } from '../../../../src/drivers/kafka/group/group-protocol.ts'
import type { GroupReply, GroupRequest } from '../../../../src/drivers/kafka/group/group-request.ts'
import { partitionKey } from '../../../../src/message/group/group-state.ts'
import type { AssignedPartition } from '../../../../src/message/port.ts'
import type { Chance } from '../../../../src/testing/simulation/chance.ts'
import type { ModelCoordinator } from './model-coordinator.ts'
import type { ModelTopics } from './model-topics.ts'
import type { Timeline } from './timeline.ts'

export interface World {
  readonly time: Timeline
  readonly chance: Chance
  readonly coordinator: ModelCoordinator
  readonly topics: ModelTopics
  /** How likely it is that a request, or its reply, is lost. */
  faults: number
  /** The longest drain. */
  readonly slowestDrainMs: number
  /** Told after everything that changes what a member holds. */
  checked(): void
  note(line: () => string): void
}

/** A member with its listener and its connections, which lose messages. */
export class SimulatedMember {
  readonly name: string
  /** What the listener works on: assigned, and neither drained nor lost. */
  readonly holds = new Map<string, AssignedPartition>()
  isFrozen = false
  isOver = false
  /** No message goes through. */
  isCutOff = false
  #isAccepted = false
  readonly #world: World
  readonly #protocol: GroupProtocol
  readonly #late: (() => void)[] = []
  readonly #busyUntil = new Map<string, number>()
  #draining: { readonly drain: number; readonly partitions: readonly AssignedPartition[] } | null = null
  #cancelTimer: () => void = () => undefined

  constructor(name: string, world: World, protocol: GroupProtocol) {
    this.name = name
    this.#world = world
    this.#protocol = protocol
  }

  happened(event: GroupEvent): void {
    if (this.isOver) return
    if (this.isFrozen) return void this.#late.push(() => this.happened(event))
    for (const command of this.#protocol.on(event, this.#world.time.now)) this.#carryOut(command)
    this.#cancelTimer()
    const wakeAt = this.#protocol.wakeAt
    if (this.isOver || wakeAt === Infinity) return
    assert.ok(Number.isFinite(wakeAt) || wakeAt === -Infinity, 'a moment to wake')
    this.#cancelTimer = this.#world.time.after(Math.max(0, wakeAt - this.#world.time.now), () => this.happened({ type: 'tick' }))
  }

  /** As SIGSTOP does it. */
  freeze(): void {
    this.isFrozen = true
  }

  /** As SIGCONT does it: what came meanwhile is worked off now, in any order. */
  thaw(): void {
    this.isFrozen = false
    const late = this.#late.splice(0)
    if (this.#world.chance.isSo(0.5)) late.reverse()
    for (const happens of late) happens()
    this.happened({ type: 'tick' })
  }

  /** As SIGKILL does it. */
  kill(): void {
    this.isOver = true
    this.holds.clear()
    this.#cancelTimer()
  }

  #carryOut(command: GroupCommand): void {
    const { chance, time, note } = this.#world
    const numbers = (): string => ('partitions' in command ? command.partitions.map(partitionKey).join(' ') : '')
    if (command.do !== 'send') note(() => `${this.name} ${command.do} ${numbers()}`)
    switch (command.do) {
      case 'send':
        return this.#send(command.request, command.what)
      case 'assigned':
        assert.equal(this.#draining, null, `${this.name} is given something while it drains`)
        for (const one of command.partitions) {
          assert.ok(!this.holds.has(partitionKey(one)), `${this.name} is given ${partitionKey(one)} twice`)
          this.holds.set(partitionKey(one), one)
        }
        return this.#world.checked()
      case 'revoke':
        assert.equal(this.#draining, null, `${this.name} is to drain twice at a time`)
        for (const one of command.partitions) assert.ok(this.holds.has(partitionKey(one)), `${this.name} is to drain what it has not`)
        this.#draining = command
        return void time.after(chance.isSo(0.5) ? 0 : chance.whole(0, this.#world.slowestDrainMs), () => this.#drained(command))
      case 'lost':
        for (const one of command.partitions) assert.ok(this.holds.delete(partitionKey(one)), `${this.name} loses what it has not`)
        // What is lost is not waited for.
        if (this.#draining?.partitions.every((one) => !this.holds.has(partitionKey(one))) === true) this.#draining = null
        return
      case 'accepted':
        this.#isAccepted = true
        return
      case 'failed':
        if (this.#isAccepted) throw command.error
        // Without a coordinator for so long, it does not become a member.
        return this.kill()
      case 'left':
        assert.equal(this.holds.size, 0, `${this.name} leaves with partitions`)
        return this.kill()
      case 'forget coordinator':
      case 'drop':
        return
    }
  }

  #drained(command: { readonly drain: number; readonly partitions: readonly AssignedPartition[] }): void {
    if (this.isOver) return
    if (this.isFrozen) return void this.#late.push(() => this.#drained(command))
    if (this.#draining === command) {
      for (const one of command.partitions) this.holds.delete(partitionKey(one))
      this.#draining = null
    }
    this.happened({ type: 'drained', drain: command.drain })
  }

  #send(request: number, what: GroupRequest): void {
    const { chance, time, coordinator, topics, note } = this.#world
    note(
      () =>
        `${this.name} > ${JSON.stringify(what, (_, value: unknown) => (value instanceof Map ? [...(value as Map<string, unknown>)] : value))}`,
    )
    let isSettled = false
    const answer = (reply: GroupReply): void => {
      if (isSettled) return
      isSettled = true
      if (this.isCutOff || chance.isSo(this.#world.faults / 2)) return this.#break(request)
      time.after(this.#delayMs(), () => {
        note(() => `${this.name} < ${JSON.stringify(reply)}`)
        this.happened({ type: 'reply', request, reply })
      })
    }
    if (this.isCutOff || chance.isSo(this.#world.faults / 2)) return this.#break(request)
    // Requests of one connection arrive in their order.
    const arrives = Math.max(time.now + this.#delayMs(), this.#busyUntil.get(what.api) ?? 0)
    this.#busyUntil.set(what.api, arrives)
    time.after(arrives - time.now, () => {
      if (what.api === 'describe') answer({ api: 'describe', topics: topics.describe(what.names) })
      else coordinator.receive(what, answer)
    })
    // What waits long at the coordinator may lose its connection, too.
    if ((what.api === 'join' || what.api === 'sync') && chance.isSo(this.#world.faults)) {
      time.after(chance.whole(0, 3_000), () => {
        if (!isSettled) this.#break(request)
        isSettled = true
      })
    }
  }

  /** Noticed at once, or when no reply came in time. */
  #break(request: number): void {
    const { chance, time } = this.#world
    const error = new TidemarkError('BROKER_UNREACHABLE', 'lost')
    time.after(chance.isSo(0.7) ? this.#delayMs() : 1_000, () => this.happened({ type: 'rejected', request, error }))
  }

  #delayMs(): number {
    const { chance } = this.#world
    return chance.isSo(0.05) ? chance.whole(0, 400) : chance.whole(0, 15)
  }
}
