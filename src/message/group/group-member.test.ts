import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { TidemarkError } from '../../errors.ts'
import { systemClock } from '../../internal/clock.ts'
import type { AssignedPartition, AssignmentListener } from '../port.ts'
import { type GroupCoordinator, GroupMember } from './group-member.ts'
import type { HeartbeatReply } from './group-state.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const partition = (number: number): AssignedPartition => ({ topic: 't', topicId: 'id', partition: number })
const owns = (...numbers: readonly number[]): HeartbeatReply => ({
  status: 'member',
  owned: numbers.map(partition),
  revoking: [],
  waiting: false,
})
const unreachable = new TidemarkError('BROKER_UNREACHABLE', 'away')

/** A member whose group answers what the test says; the last answer stays. */
function scripted(...answers: readonly (HeartbeatReply | Error)[]) {
  const left = [...answers]
  const beats: Parameters<GroupCoordinator['beat']>[0][] = []
  const told: string[] = []
  let drain = (): Promise<void> => Promise.resolve()
  const name = (what: string) => (partitions: readonly AssignedPartition[]) =>
    void told.push(`${what} ${partitions.map((one) => one.partition).join()}`)
  const listener: AssignmentListener = {
    assigned: name('assigned'),
    revoked: (partitions) => {
      name('revoked')(partitions)
      return drain()
    },
    lost: name('lost'),
    failed: (error) => void told.push(`failed ${String(error)}`),
  }
  const coordinator: GroupCoordinator = {
    async beat(beat) {
      beats.push(beat)
      const answer = left.length > 1 ? left.shift()! : left[0]!
      if (answer instanceof Error) throw answer
      return answer
    },
  }
  const joining = { clientId: null, topics: ['t'], sessionTimeoutMs: 9_000, drainTimeoutMs: 5_000 }
  return {
    member: new GroupMember({ coordinator, joining, listener, clock: systemClock }),
    beats,
    told,
    drainBy: (by: () => Promise<void>) => void (drain = by),
  }
}

test('a member that was expired is told what it lost, joins again at once, and is assigned anew', async () => {
  const { member, beats, told } = scripted(owns(0, 1), { status: 'unknown' }, owns(1))
  await member.join()
  await vi.advanceTimersByTimeAsync(1_000)
  expect(told).toEqual(['assigned 0,1', 'lost 0,1', 'assigned 1'])
  expect(beats.map(({ join }) => join !== undefined)).toEqual([true, false, true])
  member.end()
})

test('while the group cannot be reached a member keeps what it has and goes on trying', async () => {
  const { member, beats, told } = scripted(owns(0), unreachable, unreachable, unreachable, owns(0))
  await member.join()
  await vi.advanceTimersByTimeAsync(3_000)
  expect(beats.length).toBeGreaterThan(4)
  expect(told).toEqual(['assigned 0'])
  member.end()
})

test('an error that will not pass ends the membership and is told once', async () => {
  const { member, told } = scripted(owns(0), new TidemarkError('SCHEMA_MISSING', 'no tables'), owns(0))
  await member.join()
  await vi.advanceTimersByTimeAsync(60_000)
  expect(told).toEqual(['assigned 0', 'failed TidemarkError: no tables'])
})

test('joining rejects with the error of the first beat and leaves no timer', async () => {
  const { member } = scripted(unreachable)
  await expect(member.join()).rejects.toBe(unreachable)
  expect(vi.getTimerCount()).toBe(0)
})

test('while it drains a member claims nothing and beats on, then gives back at once', async () => {
  const revoking: HeartbeatReply = { status: 'member', owned: [partition(0)], revoking: [partition(1)], waiting: false }
  const { member, beats, told, drainBy } = scripted(owns(0, 1), revoking)
  let drained = (): void => undefined
  drainBy(() => new Promise((resolve) => (drained = resolve)))
  await member.join()
  await vi.advanceTimersByTimeAsync(2_000)
  expect(told).toEqual(['assigned 0,1', 'revoked 1'])
  expect(beats.slice(2).every(({ claim, released }) => !claim && released.length === 0)).toBe(true)
  const before = beats.length
  drained()
  await vi.advanceTimersByTimeAsync(0)
  expect(beats[before]!.released).toEqual([partition(1)])
  member.end()
})

test('what is given back is named again when the beat that named it failed', async () => {
  const revoking: HeartbeatReply = { status: 'member', owned: [partition(0)], revoking: [partition(1)], waiting: false }
  const { member, beats } = scripted(owns(0, 1), revoking, unreachable, owns(0))
  await member.join()
  await vi.advanceTimersByTimeAsync(3_000)
  expect(beats.filter(({ released }) => released.length > 0)).toHaveLength(2)
  member.end()
})

test('leaving drains what is held, beats on meanwhile, and says goodbye last', async () => {
  const { member, beats, told, drainBy } = scripted(owns(0, 1))
  let drained = (): void => undefined
  drainBy(() => new Promise((resolve) => (drained = resolve)))
  await member.join()
  const left = member.leave()
  await vi.advanceTimersByTimeAsync(2_000)
  expect(told).toEqual(['assigned 0,1', 'revoked 0,1'])
  expect(beats.length).toBeGreaterThan(2)
  drained()
  await left
  expect(beats.at(-1)!.leaving).toBe(true)
  expect(vi.getTimerCount()).toBe(0)
})

test('leaving does not wait for a drain past its deadline, nor for a group that is away', async () => {
  const { member, drainBy } = scripted(owns(0), unreachable)
  drainBy(() => new Promise(() => undefined))
  await member.join()
  const left = member.leave()
  await vi.advanceTimersByTimeAsync(5_000)
  await left
  expect(vi.getTimerCount()).toBe(0)
})

test('a poke during a beat leads to another one right after it', async () => {
  const { member, beats } = scripted(owns(0))
  await member.join()
  member.poke()
  member.poke()
  member.poke()
  await vi.advanceTimersByTimeAsync(0)
  expect(beats).toHaveLength(3)
  member.end()
})
