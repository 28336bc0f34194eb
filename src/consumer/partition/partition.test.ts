import { describe, expect, test } from 'vitest'
import type { LeaderRun, LogRecord } from '../../message/port.ts'
import type { BatchOrder, BatchResult } from '../batch/batch-order.ts'
import { defaultBatchLimits } from './batch-size.ts'
import type { Moment } from './lane.ts'
import { laneOf } from './lane-of.ts'
import { leaderBefore } from './leaders.ts'
import { Partition } from './partition.ts'
import type { PartitionCommand } from './partition-command.ts'
import type { LanePosition, PartitionState } from '../port.ts'

const ref = { group: 'g', topic: 't', topicId: 'id', partition: 0 }
const at = (elapsed: number, random = 0.5): Moment => ({ wall: elapsed, elapsed, random })
const failure = { is: 'bug' as const, errorClass: 'Error', reason: 'no', stack: null, frame: null, laterMs: null }

/** Keys by the lane they fall into, of two. */
const keyIn = (lane: number, lanes = 2): string => {
  for (let i = 0; ; i++) if (laneOf(Buffer.from(`k${i}`), 0, lanes) === lane) return `k${i}`
}
const [left, right] = [keyIn(0), keyIn(1)]

function record(offset: number, key: string | null): LogRecord {
  return {
    topic: 't',
    partition: 0,
    offset,
    timestamp: 0,
    key: key === null ? null : Buffer.from(key),
    value: Buffer.from('{}'),
    headers: [],
  }
}

function row(lane: number, nextOffset: number, rest: Partial<LanePosition> = {}): LanePosition {
  return { lane, lanes: 2, nextOffset, leaderEpoch: null, epoch: 1, holds: 0, highWater: {}, suspects: 0, at: null, ...rest }
}

function partition(buffer = { messages: 100, bytes: 1e6 }): Partition {
  return new Partition(ref, { limits: defaultBatchLimits, buffer: () => buffer })
}

function owned(lanes: readonly LanePosition[] = [row(0, 0), row(1, 0)], parkedKeys: readonly string[] = []): Partition {
  const machine = partition()
  machine.assigned()
  machine.tookOver(0, { lanes, parkedKeys })
  return machine
}

function committed(order: BatchOrder, rest: Partial<Extract<BatchResult, { outcome: 'committed' }>> = {}): BatchResult {
  return {
    outcome: 'committed',
    position: { ...order.position, nextOffset: order.nextOffset, leaderEpoch: leaderBefore(order.leaders, order.nextOffset) },
    handled: order.entries.length,
    ms: 1,
    parkedKeys: [],
    heldKeys: [],
    redone: false,
    ...rest,
  }
}

const names = (commands: readonly PartitionCommand[]): string[] => commands.map((command) => command.do)
const offsets = (order: BatchOrder | null): number[] => order!.entries.map((entry) => entry.record.offset)

describe('taking over', () => {
  test('reading begins at the lane that is furthest behind, and each lane drops what is before its own', () => {
    const machine = owned([row(0, 5), row(1, 2)])
    expect(machine.fetchFrom?.offset).toBe(2)
    machine.fetched(2, [record(2, left), record(3, right), record(4, left), record(5, left)], 6)
    expect(offsets(machine.order(0))).toEqual([5])
    expect(offsets(machine.order(1))).toEqual([3])
    expect(machine.repeatsBelowPosition).toBe(2)
  })

  test('an answer to a former ownership is ignored', () => {
    const machine = owned()
    machine.fetched(0, [record(0, left)], 1)
    const order = machine.order(0)!
    machine.batchEnded(0, order, { outcome: 'reload', isHeld: false }, at(0))
    expect(names(machine.reloaded(0, 0, { position: row(0, 0, { epoch: 2 }), parkedKeys: [] }, at(0)))).toEqual(['tell', 'wake'])
    expect(machine.batchEnded(0, order, committed(order), at(1))).toEqual([])
    expect(machine.phase).toBe('taking')
  })

  test('a fenced owner whose membership still stands takes over again', () => {
    const machine = owned()
    machine.fetched(0, [record(0, left)], 1)
    machine.batchEnded(0, machine.order(0)!, { outcome: 'reload', isHeld: false }, at(0))
    machine.reloaded(0, 0, { position: row(0, 0, { epoch: 2 }), parkedKeys: [] }, at(0))
    expect(machine.fetchFrom).toBeNull()
    expect(machine.wake(at(1_000))).toEqual([{ do: 'takeOver', ownership: 1 }])
    machine.tookOver(1, { lanes: [row(0, 0, { epoch: 3 }), row(1, 0, { epoch: 3 })], parkedKeys: [] })
    expect(machine.fetchFrom?.offset).toBe(0)
  })

  test('rows replaced by another process fence', () => {
    const machine = owned()
    machine.fetched(0, [record(0, left)], 1)
    machine.batchEnded(0, machine.order(0)!, { outcome: 'reload', isHeld: false }, at(0))
    expect(machine.reloaded(0, 0, null, at(0))).toContainEqual({ do: 'tell', what: 'fenced' })
  })

  test('a take-over that failed is asked for again, with a growing pause, once for each wake', () => {
    const machine = partition()
    machine.assigned()
    const [first] = machine.takeOverFailed(0, at(0))
    const [second] = machine.takeOverFailed(0, at(0))
    expect((second as { afterMs: number }).afterMs).toBeGreaterThan((first as { afterMs: number }).afterMs)
    expect(machine.wake(at(1))).toHaveLength(1)
    expect(machine.wake(at(2))).toEqual([])
  })
})

test('what others are told of follows the rows: an idle lane, past which everything is done, counts only once its row has moved', () => {
  const machine = owned()
  machine.fetched(0, [record(0, left), record(1, left)], 2)
  const order = machine.order(0)!
  machine.batchEnded(0, order, committed(order), at(0))
  expect([machine.settledUpTo, machine.storedUpTo]).toEqual([2, 0])
  const [advance] = machine.advance()
  expect(advance).toMatchObject({ do: 'advance', targets: [{ lane: 1 }] })
  machine.advanced(0, [{ lane: 1 }], [row(1, 2)], at(0))
  expect([machine.settledUpTo, machine.storedUpTo]).toEqual([2, 2])
  machine.abandon()
  expect(machine.storedUpTo).toBeNull()
})

describe('a lane', () => {
  test('has one batch in flight, and its messages in order', () => {
    const machine = owned()
    machine.fetched(0, [record(0, left), record(1, left)], 2)
    const order = machine.order(0)!
    expect(offsets(order)).toEqual([0, 1])
    machine.fetched(2, [record(2, left)], 3)
    expect(machine.order(0)).toBeNull()
    expect(machine.batchEnded(0, order, committed(order), at(0))).toContainEqual({ do: 'ready', lane: 0 })
    expect(offsets(machine.order(0))).toEqual([2])
  })

  test('a batch that takes all of a lane moves it to what was dispatched, else to its next message', () => {
    const machine = owned()
    machine.fetched(0, [record(0, left), record(1, right), record(2, right)], 10)
    expect(machine.order(0)!.nextOffset).toBe(10)
    const small = owned()
    small.fetched(
      0,
      Array.from({ length: 70 }, (_, i) => record(i, left)),
      90,
    )
    const order = small.order(0)!
    expect(order.entries).toHaveLength(64)
    expect(order.nextOffset).toBe(64)
  })

  test('a batch that committed only a first part leaves the rest', () => {
    const machine = owned()
    machine.fetched(0, [record(0, left), record(1, left), record(2, left)], 3)
    const order = machine.order(0)!
    machine.batchEnded(0, order, committed(order, { position: row(0, 1), parkedKeys: ['x'] }), at(0))
    const next = machine.order(0)!
    expect(offsets(next)).toEqual([1, 2])
    expect(next.parked.has('x')).toBe(true)
  })

  test('a commit without a reply is looked up, and what is done is not run again', () => {
    const machine = owned()
    machine.fetched(0, [record(0, left), record(1, left)], 2)
    const [wake] = machine.batchEnded(0, machine.order(0)!, { outcome: 'unavailable', failure }, at(0))
    expect(machine.order(0)).toBeNull()
    expect(machine.wake(at((wake as { afterMs: number }).afterMs))).toEqual([{ do: 'reload', ownership: 0, lane: 0, since: null }])
    machine.reloaded(0, 0, { position: row(0, 1), parkedKeys: [] }, at(100))
    expect(offsets(machine.order(0))).toEqual([1])
  })

  test('reloading gives the lane its own parked keys only', () => {
    const machine = owned()
    machine.fetched(0, [record(0, left)], 1)
    machine.batchEnded(0, machine.order(0)!, { outcome: 'reload', isHeld: false }, at(0))
    const keys = [left, right].map((key) => Buffer.from(key).toString('base64'))
    machine.reloaded(0, 0, { position: row(0, 0, { holds: 1 }), parkedKeys: keys }, at(0))
    const order = machine.order(0)!
    expect([...order.parked]).toEqual([keys[0]])
    expect(order.position.holds).toBe(1)
  })

  test('what others held while a batch ran queues from the next batch on, and is known of', () => {
    const machine = owned()
    machine.fetched(0, [record(0, left), record(1, left)], 2)
    const order = machine.order(0)!
    const held = keyOf('held meanwhile')
    machine.batchEnded(0, order, committed(order, { position: row(0, 1, { holds: 2 }), heldKeys: [held] }), at(0))
    const next = machine.order(0)!
    expect(next.position.holds).toBe(2)
    expect([...next.parked]).toEqual([held])
  })

  test('a batch that ran a held key asks what was held, and which of the keys that it left to wait are gone', () => {
    const machine = owned([row(0, 0), row(1, 0)], [keyOf(left)])
    machine.fetched(0, [record(0, left), record(1, left)], 2)
    const [reload] = machine.batchEnded(0, machine.order(0)!, { outcome: 'reload', isHeld: true }, at(0))
    expect(reload).toEqual({ do: 'reload', ownership: 0, lane: 0, since: { position: row(0, 0), waiting: [keyOf(left)] } })
    machine.caughtUp(0, { position: row(0, 0, { holds: 3 }), held: [keyOf('other')], released: [keyOf(left)] }, at(0))
    const next = machine.order(0)!
    expect(offsets(next)).toEqual([0, 1])
    expect(next.position.holds).toBe(3)
    expect([...next.parked]).toEqual([keyOf('other')])
  })

  test('a large batch that met a held key is followed by a smaller one', () => {
    const machine = owned()
    machine.fetched(
      0,
      Array.from({ length: 60 }, (_, offset) => record(offset, left)),
      60,
    )
    const order = machine.order(0)!
    expect(order.entries.length).toBe(60)
    machine.batchEnded(0, order, { outcome: 'reload', isHeld: true }, at(0))
    machine.caughtUp(0, { position: row(0, 0, { holds: 1 }), held: [], released: [] }, at(0))
    expect(machine.order(0)!.entries.length).toBe(30)
  })

  test('keys that were parked, released and never came again do not pile up: all are read anew now and then', () => {
    const machine = owned()
    machine.fetched(0, [record(0, left), record(1, left)], 2)
    const order = machine.order(0)!
    const parkedKeys = Array.from({ length: 10_001 }, (_, n) => keyOf(String(n)))
    const [reload] = machine.batchEnded(0, order, committed(order, { position: row(0, 1), parkedKeys }), at(0))
    expect(reload).toEqual({ do: 'reload', ownership: 0, lane: 0, since: null })
    machine.reloaded(0, 0, { position: row(0, 1), parkedKeys: [] }, at(0))
    expect(machine.order(0)!.parked.size).toBe(0)
  })
})

function keyOf(text: string): string {
  return Buffer.from(text).toString('base64')
}

describe('a failing message', () => {
  function failing(): { machine: Partition; order: BatchOrder } {
    const machine = owned()
    machine.fetched(0, [record(0, left), record(1, left), record(2, left)], 3)
    return { machine, order: machine.order(0)! }
  }

  test('that took its batch along is dealt with alone, once what precedes it is done', () => {
    const { machine, order } = failing()
    machine.batchEnded(0, order, { outcome: 'failed', first: 1, last: 1, failure }, at(0))
    const before = machine.order(0)!
    expect(offsets(before)).toEqual([0])
    expect(before.verdict).toBeNull()
    machine.batchEnded(0, before, committed(before), at(0))
    const alone = machine.order(0)!
    expect(offsets(alone)).toEqual([1])
    expect(alone.verdict).toEqual(failure)
    machine.batchEnded(0, alone, committed(alone, { parkedKeys: ['x'] }), at(0))
    expect(offsets(machine.order(0))).toEqual([2])
  })

  test('is found by halving when a batch handler or the commit failed, and nobody else is charged', () => {
    const machine = owned()
    machine.fetched(
      0,
      Array.from({ length: 16 }, (_, i) => record(i, left)),
      16,
    )
    const runs: number[] = []
    for (let left = 100; left > 0; left--) {
      const order = machine.order(0)!
      const all = offsets(order)
      runs.push(all.length)
      if (order.verdict !== null) {
        expect(all).toEqual([11])
        return
      }
      const result: BatchResult = all.includes(11) ? { outcome: 'failed', first: all[0]!, last: all.at(-1)!, failure } : committed(order)
      machine.batchEnded(0, order, result, at(0, 0))
    }
    expect.fail(`never found: ${runs.join()}`)
  })

  test('a deadlock charges nobody and makes the next batch smaller', () => {
    const { machine, order } = failing()
    const [wake] = machine.batchEnded(0, order, { outcome: 'conflict', failure }, at(0))
    machine.wake(at((wake as { afterMs: number }).afterMs))
    expect(machine.order(0)).toMatchObject({ verdict: null, entries: [{ record: { offset: 0 } }] })
  })

  test('a message that only ever deadlocks is charged in the end', () => {
    const machine = owned()
    machine.fetched(0, [record(0, left)], 1)
    for (let now = 0; now < 100_000; now += 1_000) {
      machine.wake(at(now))
      const order = machine.order(0)!
      if (order.verdict !== null) return
      machine.batchEnded(0, order, { outcome: 'conflict', failure }, at(now))
    }
    expect.fail('never charged')
  })

  test('a connection lost under handlers makes the next batch smaller; only a message that loses one each time it runs alone is charged', () => {
    const machine = owned()
    machine.fetched(0, [record(0, left), record(1, left)], 2)
    const charged: boolean[] = []
    for (let now = 0; now < 1_000_000; now += 10_000) {
      machine.wake(at(now))
      const order = machine.order(0)!
      charged.push(order.verdict !== null)
      if (order.verdict !== null) break
      machine.batchEnded(0, order, { outcome: 'lost', failure }, at(now))
      machine.reloaded(0, 0, { position: row(0, 0), parkedKeys: [] }, at(now))
    }
    expect(charged).toEqual([...new Array<boolean>(7).fill(false), true])
  })

  test('an outage charges nobody', () => {
    const { machine, order } = failing()
    machine.batchEnded(0, order, { outcome: 'unavailable', failure }, at(0))
    for (let now = 1; now < 20; now++) {
      machine.wake(at(now * 10_000))
      machine.reloadFailed(0, 0, at(now * 10_000))
    }
    machine.wake(at(1_000_000))
    machine.reloaded(0, 0, { position: row(0, 0), parkedKeys: [] }, at(1_000_000))
    machine.wake(at(1_100_000))
    expect(machine.order(0)).toMatchObject({ verdict: null })
  })
})

describe('idle lanes', () => {
  test('follow what was dispatched, those with work do not', () => {
    const machine = owned()
    machine.fetched(0, [record(0, left)], 7)
    expect(machine.advance()).toEqual([{ do: 'advance', ownership: 0, targets: [{ lane: 1, epoch: 1, offset: 7, leaderEpoch: null }] }])
    machine.advanced(0, [{ lane: 1 }], [row(1, 7)], at(0))
    expect(machine.lanes[1]!.position.nextOffset).toBe(7)
    expect(machine.advance()).toEqual([])
  })

  test('run nothing while they move, and go on afterwards', () => {
    const machine = owned()
    machine.fetched(0, [], 5)
    machine.advance()
    machine.fetched(5, [record(5, left)], 6)
    expect(machine.order(0)).toBeNull()
    expect(machine.advanced(0, [{ lane: 0 }, { lane: 1 }], [row(0, 5), row(1, 5)], at(0))).toEqual([{ do: 'ready', lane: 0 }])
  })

  test('keep the count of holds they know, so that a key held meanwhile is found out at the next batch', () => {
    const machine = owned()
    machine.fetched(0, [], 5)
    machine.advance()
    machine.advanced(0, [{ lane: 0 }, { lane: 1 }], [row(0, 5, { holds: 1 }), row(1, 5)], at(0))
    machine.fetched(5, [record(5, left)], 6)
    expect(machine.order(0)!.position.holds).toBe(0)
  })

  test('a lane that did not move is looked up', () => {
    const machine = owned()
    machine.fetched(0, [], 5)
    machine.advance()
    expect(machine.advanced(0, [{ lane: 0 }, { lane: 1 }], [row(0, 5)], at(0))).toEqual([
      { do: 'reload', ownership: 0, lane: 1, since: null },
    ])
  })

  test('everything before what was dispatched counts as settled, though the rows stand further back', () => {
    const machine = owned()
    machine.fetched(0, [record(3, left)], 9)
    expect(machine.settledUpTo).toBe(0)
    const order = machine.order(0)!
    machine.batchEnded(0, order, committed(order), at(0))
    expect(machine.settledUpTo).toBe(9)
  })
})

describe('memory', () => {
  test('reading pauses at the bound and goes on at half of it', () => {
    const machine = partition({ messages: 4, bytes: 1e6 })
    machine.assigned()
    machine.tookOver(0, { lanes: [row(0, 0), row(1, 0)], parkedKeys: [] })
    machine.fetched(0, [record(0, left), record(1, left), record(2, right), record(3, right)], 4)
    expect(machine.fetchFrom).toBeNull()
    const order = machine.order(0)!
    expect(machine.batchEnded(0, order, committed(order), at(0))).toContainEqual({ do: 'fetch' })
    expect(machine.fetchFrom?.offset).toBe(4)
  })
})

describe('leaving', () => {
  test('waits for what is in flight, moves idle lanes, and starts nothing new', () => {
    const machine = owned()
    machine.fetched(0, [record(0, left), record(1, right)], 2)
    const order = machine.order(0)!
    expect(machine.drain()).toEqual([])
    expect(machine.order(1)).toBeNull()
    const commands = machine.batchEnded(0, order, committed(order, { position: row(0, 1) }), at(0))
    expect(commands).toEqual([{ do: 'advance', ownership: 0, targets: [{ lane: 0, epoch: 1, offset: 2, leaderEpoch: null }] }])
    expect(machine.advanced(0, [{ lane: 0 }], [row(0, 2)], at(0))).toEqual([
      {
        do: 'giveBack',
        lanes: [
          { lane: 0, epoch: 1 },
          { lane: 1, epoch: 1 },
        ],
      },
      { do: 'tell', what: 'released' },
    ])
  })

  test('gives back what it took over too late, but for lanes whose former owner may have been ended by a message', () => {
    const machine = partition()
    machine.assigned()
    expect(machine.drain()).toEqual([{ do: 'tell', what: 'released' }])
    expect(machine.tookOver(0, { lanes: [row(0, 0), row(1, 0, { suspects: 3 })], parkedKeys: [] })).toEqual([
      { do: 'giveBack', lanes: [{ lane: 0, epoch: 1 }] },
    ])
    expect(machine.tookOver(0, { lanes: [row(0, 0, { suspects: 1 })], parkedKeys: [] })).toEqual([])
  })

  test('does not wait for a database that is away', () => {
    const machine = owned()
    machine.fetched(0, [record(0, left)], 1)
    machine.batchEnded(0, machine.order(0)!, { outcome: 'unavailable', failure }, at(0))
    const [advance] = machine.drain()
    // The lane with the unknown outcome keeps its place: its message may not be done.
    expect(advance).toMatchObject({ do: 'advance', targets: [{ lane: 1 }] })
    expect(machine.advanceFailed(0, [{ lane: 1 }], at(0))).toEqual([{ do: 'tell', what: 'released' }])
  })

  test('abandoned, nothing in flight counts any more', () => {
    const machine = owned()
    machine.fetched(0, [record(0, left)], 1)
    const order = machine.order(0)!
    expect(machine.abandon()).toEqual([{ do: 'tell', what: 'abandoned' }])
    expect(machine.batchEnded(0, order, committed(order), at(0))).toEqual([])
    expect(machine.phase).toBe('released')
  })
})

describe('a change of the lane count', () => {
  function state(lanes: number, offset: number, epoch: number): PartitionState {
    return { lanes: Array.from({ length: lanes }, (_, lane) => row(lane, offset, { lanes, epoch })), parkedKeys: [] }
  }

  test('has its barrier past every batch in flight; no message at or past it begins', () => {
    const machine = owned()
    machine.fetched(0, [record(0, left), record(1, right), record(2, left)], 3)
    const first = machine.order(0)!
    expect(first.nextOffset).toBe(3)
    machine.changeLanes(3)
    expect(machine.fetchFrom).toBeNull()
    const second = machine.order(1)!
    expect(second.nextOffset).toBe(3)
    machine.batchEnded(0, second, committed(second), at(0))
    const commands = machine.batchEnded(0, first, committed(first), at(0))
    expect(commands).toContainEqual({
      do: 'replaceLanes',
      ownership: 0,
      from: [row(0, 3), row(1, 3)],
      count: 3,
      at: { offset: 3, leaderEpoch: null },
    })
    expect(machine.replaced(0, state(3, 3, 2), at(0))).toContainEqual({ do: 'fetch' })
    expect(machine.lanes).toHaveLength(3)
    expect(machine.fetchFrom?.offset).toBe(3)
  })

  test('messages past the barrier wait and are given to the new lanes, in order', () => {
    const machine = owned()
    machine.fetched(0, [record(0, left)], 1)
    const order = machine.order(0)!
    machine.changeLanes(1)
    // Read before the barrier was known to the broker's reader.
    machine.fetched(1, [record(1, left), record(2, right), record(3, left)], 4)
    expect(machine.order(1)).toBeNull()
    machine.batchEnded(0, order, committed(order), at(0))
    machine.replaced(0, state(1, 1, 2), at(0))
    expect(offsets(machine.order(0))).toEqual([1, 2, 3])
  })

  test('waits for an idle advance', () => {
    const machine = owned()
    machine.fetched(0, [], 5)
    machine.advance()
    expect(names(machine.changeLanes(3))).toEqual(['fetch'])
    expect(names(machine.advanced(0, [{ lane: 0 }, { lane: 1 }], [row(0, 5), row(1, 5)], at(0)))).toContain('replaceLanes')
  })

  test('reads up to a barrier that lies ahead', () => {
    const machine = owned([row(0, 8), row(1, 2)])
    machine.changeLanes(4)
    expect(machine.fetchFrom?.offset).toBe(2)
    expect(names(machine.fetched(2, [], 8))).toContain('replaceLanes')
  })

  test('moves its barrier on when a batch of unknown outcome turns out to have ended past it', () => {
    const machine = owned()
    machine.fetched(0, [record(0, left), record(1, right), record(2, left), record(3, right)], 4)
    const lost = machine.order(0)!
    machine.batchEnded(0, lost, { outcome: 'unavailable', failure }, at(0))
    machine.changeLanes(3)
    machine.wake(at(10_000))
    const commands = machine.reloaded(0, 0, { position: row(0, 4), parkedKeys: [] }, at(10_000))
    expect(names(commands)).toEqual(['fetch', 'ready'])
    const others = machine.order(1)!
    expect(offsets(others)).toEqual([1, 3])
    expect(machine.batchEnded(0, others, committed(others), at(10_000))).toContainEqual({
      do: 'replaceLanes',
      ownership: 0,
      from: [row(0, 4), row(1, 4)],
      count: 3,
      at: { offset: 4, leaderEpoch: null },
    })
  })

  test('with rows that are not as known, fences', () => {
    const machine = owned()
    machine.changeLanes(3)
    expect(machine.replaced(0, 'fenced', at(0))).toContainEqual({ do: 'tell', what: 'fenced' })
  })

  test('of unknown outcome takes over again', () => {
    const machine = owned()
    machine.changeLanes(3)
    expect(machine.replaceFailed(0, at(0))).toContainEqual({ do: 'tell', what: 'fenced' })
    expect(machine.wake(at(10_000))).toEqual([{ do: 'takeOver', ownership: 1 }])
  })
})

describe('a log that does not hold the position', () => {
  const theirs = `where group_name = 'g' and topic_id = 'id' and partition = 0`

  test('because older messages are gone stops the consumer, and the error says what is lost and what to do', () => {
    const [command] = owned([row(0, 4), row(1, 4)]).outOfRange(4, 10, 20)
    expect(command).toMatchObject({
      do: 'fail',
      error: { code: 'OFFSET_OUT_OF_RANGE', details: { offset: 4, startOffset: 10, endOffset: 20 } },
    })
    const { message } = (command as Extract<PartitionCommand, { do: 'fail' }>).error
    expect(message).toContain('stands at offset 4 of t-0, but the log holds only 10 to 20. Messages 4 to 9 are gone unhandled')
    expect(message).toContain(`update consumer_position set next_offset = 10 ${theirs} and next_offset < 10.`)
  })

  test('because it ends before it stops the consumer, and the error says what is lost and what to do', () => {
    const [command] = owned([row(0, 40), row(1, 40)]).outOfRange(40, 10, 20)
    const { message } = (command as Extract<PartitionCommand, { do: 'fail' }>).error
    expect(message).toContain('handled of 20 to 39 is gone')
    expect(message).toContain(`update consumer_position set next_offset = 20 ${theirs} and next_offset > 20.`)
  })

  test('any more, but other messages in its place, stops the consumer, and the error says what is lost and what to do', () => {
    const [command] = owned([row(0, 40), row(1, 40)]).truncated(40, 20)
    expect(command).toMatchObject({ do: 'fail', error: { code: 'LOG_TRUNCATED', details: { offset: 40, endOffset: 20 } } })
    const { message } = (command as Extract<PartitionCommand, { do: 'fail' }>).error
    expect(message).toContain('stands at offset 40 of t-0, but the log has lost what it held from 20 on')
    expect(message).toContain(`set next_offset = 20 ${theirs} and next_offset > 20.`)
    expect(message).toContain(`set leader_epoch = null ${theirs}.`)
  })

  test('is none of a former ownership', () => {
    const machine = owned([row(0, 4), row(1, 4)])
    machine.fetched(4, [], 6)
    expect([...machine.outOfRange(4, 10, 20), ...machine.truncated(4, 2)]).toEqual([])
  })
})

describe('the leader epoch of positions', () => {
  const lead = (leaderEpoch: number, from: number, to: number): LeaderRun => ({ leaderEpoch, from, to })

  test('goes with the offset that is read from: first that of the lane that is furthest behind, then that of what was read last', () => {
    const machine = owned([row(0, 5, { leaderEpoch: 4 }), row(1, 3, { leaderEpoch: 2 })])
    expect(machine.fetchFrom).toEqual({ offset: 3, leaderEpoch: 2 })
    machine.fetched(3, [record(3, right)], 9, [lead(2, 2, 4), lead(4, 4, 9)])
    expect(machine.fetchFrom).toEqual({ offset: 9, leaderEpoch: 4 })
    machine.fetched(9, [], 12, [lead(4, 9, 12)])
    expect(machine.fetchFrom).toEqual({ offset: 12, leaderEpoch: 4 })
  })

  test('is that of the record before the offset, whatever lane that is in', () => {
    const machine = owned()
    machine.fetched(0, [record(0, left), record(1, right), record(2, left)], 3, [lead(1, 0, 1), lead(2, 1, 2), lead(3, 2, 3)])
    const order = machine.order(0)!
    expect([0, 1, 2, 3].map((offset) => leaderBefore(order.leaders, offset))).toEqual([null, 1, 2, 3])
    machine.batchEnded(0, order, committed(order), at(0))
    expect(machine.lanes[0]!.position).toMatchObject({ nextOffset: 3, leaderEpoch: 3 })
  })

  test('moves with idle lanes, and into other lanes', () => {
    const machine = owned()
    machine.fetched(0, [], 8, [lead(6, 0, 8)])
    expect(machine.advance()).toMatchObject([{ do: 'advance', targets: [0, 1].map((lane) => ({ lane, offset: 8, leaderEpoch: 6 })) }])
    const moved = [0, 1].map((lane) => row(lane, 8, { leaderEpoch: 6 }))
    machine.advanced(0, moved, moved, at(0))
    expect(machine.changeLanes(3)).toContainEqual(expect.objectContaining({ do: 'replaceLanes', at: { offset: 8, leaderEpoch: 6 } }))
  })

  test('of lanes that have not been read past yet is known from their own rows', () => {
    const machine = owned([row(0, 8, { leaderEpoch: 6 }), row(1, 8, { leaderEpoch: 6 })])
    expect(machine.changeLanes(3)).toContainEqual(expect.objectContaining({ do: 'replaceLanes', at: { offset: 8, leaderEpoch: 6 } }))
  })

  test('stops the consumer where a lane further on has handled what is not in the log any more', () => {
    const machine = owned([row(0, 60, { leaderEpoch: 1 }), row(1, 100, { leaderEpoch: 2 })])
    expect(machine.fetched(60, [record(60, left)], 80, [lead(1, 60, 70), lead(2, 70, 80)]).map((one) => one.do)).toEqual(['ready'])
    const [command] = machine.fetched(80, [record(85, right)], 120, [lead(2, 80, 85), lead(3, 85, 120)])
    expect(command).toMatchObject({ do: 'fail', error: { code: 'LOG_TRUNCATED', details: { offset: 100, endOffset: 85 } } })
  })

  test('takes no later leader for a contradiction that began where the lane stands', () => {
    const machine = owned([row(0, 60, { leaderEpoch: 1 }), row(1, 100, { leaderEpoch: 2 })])
    const commands = machine.fetched(60, [record(100, right)], 120, [lead(2, 60, 90), lead(3, 100, 120)])
    expect(commands).toEqual([{ do: 'ready', lane: 1 }])
  })

  test('is not asked for where the broker keeps none', () => {
    const machine = owned()
    machine.fetched(0, [record(0, left)], 1)
    const order = machine.order(0)!
    expect(leaderBefore(order.leaders, order.nextOffset)).toBeNull()
    expect(machine.fetchFrom).toEqual({ offset: 1, leaderEpoch: null })
  })
})
