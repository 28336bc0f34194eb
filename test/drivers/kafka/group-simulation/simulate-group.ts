import { ClassicMember } from '../../../../src/drivers/kafka/group/classic-member.ts'
import { ConsumerMember } from '../../../../src/drivers/kafka/group/consumer-member.ts'
import { type GroupProtocol, rebalanceTimeoutMs } from '../../../../src/drivers/kafka/group/group-protocol.ts'
import { partitionKey } from '../../../../src/message/group/group-state.ts'
import { Chance } from '../../../../src/testing/simulation/chance.ts'
import { ClassicCoordinator } from './classic-coordinator.ts'
import { ConsumerCoordinator } from './consumer-coordinator.ts'
import type { ModelCoordinator } from './model-coordinator.ts'
import { ModelTopics } from './model-topics.ts'
import { SimulatedMember, type World } from './simulated-member.ts'
import { Timeline } from './timeline.ts'

export interface GroupSimulation {
  readonly seed: number
  /** What was broken, `null` for nothing. */
  readonly violation: string | null
  /** Empty unless asked for. */
  readonly trace: readonly string[]
  /** How often a partition was given to a member. */
  readonly assigned: number
}

const names = ['t', 'u']
const troubledMs = 90_000
const calmMs = 90_000
const most = 5

/** A group whose members come, go, freeze, die and lose messages for a while, and then have time to settle. A function of the seed. */
export function simulateGroup(protocol: 'classic' | 'consumer', seed: number, isTraced = false): GroupSimulation {
  const chance = new Chance(seed)
  const time = new Timeline()
  const topics = new ModelTopics()
  topics.create('t', chance.whole(1, 6))
  topics.create('u', chance.whole(1, 4))
  const times = { sessionTimeoutMs: chance.pick([2_000, 6_000, 10_000]), drainTimeoutMs: chance.pick([500, 3_000, 12_000]) }
  const model = { ...times, rebalanceTimeoutMs: rebalanceTimeoutMs(times) }
  const coordinator: ModelCoordinator =
    protocol === 'classic' ? new ClassicCoordinator(time, model) : new ConsumerCoordinator(time, model, topics, names)
  const members: SimulatedMember[] = []
  const trace: string[] = []
  let assigned = 0
  const world: World = {
    time,
    chance,
    coordinator,
    topics,
    faults: chance.pick([0, 0.02, 0.1, 0.3]),
    slowestDrainMs: times.drainTimeoutMs * 1.3,
    checked: () => {
      assigned += 1
      requireOneReader(members)
    },
    note: (line) => void (isTraced && trace.push(`${Math.round(time.now)} ${line()}`)),
  }
  const join = (): void => {
    const settings = { group: 'g', topics: names, ...times, random: chance.number }
    const name = `member ${members.length}`
    const machine: GroupProtocol =
      protocol === 'classic' ? new ClassicMember(settings, time.now) : new ConsumerMember(settings, time.now, name)
    const member = new SimulatedMember(name, world, machine)
    members.push(member)
    member.happened({ type: 'tick' })
  }
  try {
    join()
    while (time.now < troubledMs) {
      trouble(world, members, join)
      time.runUntil(time.now + chance.whole(0, 4_000))
    }
    world.faults = 0
    for (const member of members) {
      member.isCutOff = false
      if (member.isFrozen) member.thaw()
    }
    join()
    time.runUntil(time.now + calmMs)
    requireShared(
      members.filter(({ isOver }) => !isOver),
      topics,
    )
    return { seed, violation: null, trace, assigned }
  } catch (error) {
    return { seed, violation: error instanceof Error ? error.message : String(error), trace, assigned }
  }
}

function trouble(world: World, members: readonly SimulatedMember[], join: () => void): void {
  const { chance, topics, time, note } = world
  const alive = members.filter(({ isOver }) => !isOver)
  const victim = alive.length === 0 ? null : chance.pick(alive)
  const what = chance.pick(['join', 'join', 'leave', 'kill', 'freeze', 'cut off', 'grow', 'delete', 'nothing'])
  note(() => `-- ${what} ${victim?.name ?? ''}`)
  if (what === 'join' && alive.length < most) join()
  if (what === 'grow' && chance.isSo(0.3)) topics.grow(chance.pick(names))
  if (what === 'delete' && chance.isSo(0.3)) {
    const name = chance.pick(names)
    topics.delete(name)
    time.after(chance.whole(0, 6_000), () => topics.create(name, chance.whole(1, 6)))
  }
  if (victim === null) return
  if (what === 'leave') victim.happened({ type: 'leave' })
  if (what === 'kill') victim.kill()
  if (what === 'freeze' && !victim.isFrozen) {
    victim.freeze()
    time.after(chance.whole(100, 25_000), () => victim.thaw())
  }
  if (what === 'cut off') {
    victim.isCutOff = true
    time.after(chance.whole(100, 25_000), () => (victim.isCutOff = false))
  }
}

/** Whoever is frozen does nothing, and loses what it has before it does anything. */
function requireOneReader(members: readonly SimulatedMember[]): void {
  const readers = new Map<string, string>()
  for (const { name, holds, isFrozen } of members) {
    if (isFrozen) continue
    for (const key of holds.keys()) {
      const other = readers.get(key)
      if (other !== undefined) throw new Error(`${key} is held by ${other} and ${name}`)
      readers.set(key, name)
    }
  }
}

function requireShared(members: readonly SimulatedMember[], topics: ModelTopics): void {
  const held = members.flatMap(({ holds }) => [...holds.keys()]).sort()
  const all = topics.partitions(names).map(partitionKey).sort()
  if (held.join() !== all.join()) throw new Error(`held in the end: ${held.join()}; there are ${all.join()}`)
  const sizes = members.map(({ holds }) => holds.size)
  if (Math.max(...sizes) - Math.min(...sizes) > 1) throw new Error(`not even in the end: ${sizes.join()}`)
}
