import { laneOf } from '../../src/consumer/partition/lane-of.ts'
import type { LeasedKey, ParkedStore } from '../../src/consumer/parked-port.ts'
import { parkedKeyOf } from '../../src/consumer/parked/parked-key.ts'
import type { BatchEnd, BatchTransaction, ConsumerStore, LanePosition, LaneRef, PartitionState } from '../../src/consumer/port.ts'
import type { DeadLetterStore } from '../../src/dead-letter/port.ts'
import type { MemoryConsumerStore, MemoryOutboxStore } from '../../src/drivers/memory/index.ts'
import type { OutboxStore, RelayStream } from '../../src/outbox/port.ts'
import type { SimulationOptions } from '../../src/testing/index.ts'

/** Stores without one of their safeguards. The simulation is worth something if it finds each of them. */
export interface BrokenStore {
  /** What is missing. */
  readonly without: string
  readonly broken: NonNullable<SimulationOptions['broken']>
  /** More of the trouble that it takes. */
  readonly plan?: SimulationOptions['plan'] & object
  /** Schedules within which it must be found: several times as many as it took. */
  readonly within: number
}

/** Letters of either policy on few keys, and operators who redrive them while more comes. */
const muchRedriven = { poison: 0.2, redrives: 3, transactions: 40, slowHandlers: 0.5 }

/** Several dead letters of a key at once, and little else that could cover them up. */
const manyDead = {
  ...muchRedriven,
  poison: 0.4,
  redrives: 2,
  slowHandlers: 0,
  discards: 0,
  flaky: 0,
  crash: 0,
  freeze: 0,
  lostRequest: 0,
  lostReply: 0,
  late: 0,
  standstill: 0,
  slow: 0,
  restarts: 0,
  outages: 0,
  deadly: 0,
}

/** Many keys that wait at once and mostly succeed then, and one retrier in each process. */
export const manyTogether = { retriers: 1, later: 0.7, flaky: 0.05, poison: 0, redrives: 1, transactions: 60, strangers: 5, outages: 0.5 }

export const brokenStores: readonly BrokenStore[] = [
  {
    without: 'the epoch in the compare-and-set of a batch',
    broken: { consumer: (store) => committing(store, async (end, row) => ({ ...end, position: { ...end.position, epoch: row.epoch } })) },
    within: 100,
  },
  {
    without: 'the offset in the compare-and-set of a batch',
    broken: {
      consumer: (store) => committing(store, async (end, row) => ({ ...end, position: { ...end.position, nextOffset: row.nextOffset } })),
    },
    within: 1_000,
  },
  {
    without: 'the high water',
    broken: { consumer: (store) => committing(store, async (end) => ({ ...end, highWater: {} })) },
    within: 100,
  },
  {
    without: 'the inbox of handled ids',
    broken: {
      consumer: (store) => committing(store, async (end) => ({ ...end, handled: [] })),
    },
    within: 100,
  },
  {
    without: 'a look at the parked keys after a take-over',
    broken: {
      consumer: (store) => ({ ...bound(store), takeOver: async (request) => ({ ...(await store.takeOver(request)), parkedKeys: [] }) }),
    },
    within: 100,
  },
  {
    without: 'the count of holds in the compare-and-set of a batch',
    broken: { consumer: (store) => committing(store, async (end, row) => ({ ...end, position: { ...end.position, holds: row.holds } })) },
    plan: muchRedriven,
    within: 500,
  },
  {
    without: 'a look whether one of the keys that ran was held',
    broken: { consumer: (store) => committing(store, async (end) => ({ ...end, ran: [] })) },
    plan: muchRedriven,
    within: 200,
  },
  {
    without: 'the held keys that a commit tells of',
    broken: { consumer: (store) => forgetful(store) },
    plan: { ...muchRedriven, redrives: 6, crash: 0, freeze: 0, restarts: 0, outages: 0, deadly: 0, discards: 0, standstill: 0 },
    within: 300,
  },
  {
    without: 'the head in what a retrier commits: whatever is the first goes',
    broken: { consumer: (store) => ({ ...bound(store), parked: withAnyHead(store) }) },
    within: 300,
  },
  {
    without: 'the hold of the lane at a redrive',
    broken: { letters: (store) => redriving(store, ({ lane }) => store.tables.setLane(lane, { ...lane.row, holds: lane.row.holds - 1 })) },
    plan: muchRedriven,
    within: 100,
  },
  {
    without: '`dead` on the message: a redrive unblocks its key',
    broken: { letters: (store) => redriving(store, ({ lane, key }) => unblock(store, lane, key)) },
    plan: manyDead,
    within: 150,
  },
  {
    without: 'the order of a key, when letters are redriven: they come behind what waits',
    broken: { letters: (store) => redriving(store, ({ lane, key }) => turn(store, lane, key)) },
    within: 200,
  },
  {
    without: 'the suspects after a take-over: what ends processes does so for ever',
    broken: { consumer: (store) => ({ ...bound(store), takeOver: async (request) => withoutSuspects(await store.takeOver(request)) }) },
    within: 100,
  },
  {
    without: 'the locks of the keys at a publish',
    broken: { outbox: (store) => ({ ...streaming(store), append: (tx, messages) => store.append(tx, messages, { keyLocked: true }) }) },
    within: 100,
  },
  {
    without: 'the difference of snapshots: `seq > last` in its place',
    broken: { outbox: publishedByNumber },
    within: 100,
  },
  {
    without: 'the tick being stored before its messages are sent',
    broken: { outbox: withoutStoredTick },
    within: 100,
  },
  {
    without: 'the epoch in the checkpoint of the relay',
    broken: { outbox: checkpointedByAnybody },
    within: 200,
  },
]

type Row = Pick<BatchEnd['position'], 'epoch' | 'nextOffset' | 'holds'>

/** The store with another end of its batches, made of the right one and the row as it stands. */
function committing(store: MemoryConsumerStore, change: (end: BatchEnd, row: Row) => Promise<BatchEnd>): ConsumerStore {
  const begin = async (lane: LaneRef): Promise<BatchTransaction> => {
    const batch = await store.begin(lane)
    return {
      tx: batch.tx,
      alreadyHandled: (ids) => batch.alreadyHandled(ids),
      status: () => batch.status(),
      blame: (error) => batch.blame(error),
      mark: () => batch.mark(),
      undo: () => batch.undo(),
      rollBack: () => batch.rollBack(),
      commit: async (end) => batch.commit(await change(end, (await store.reload(lane))?.position ?? end.position)),
    }
  }
  return { ...bound(store), begin }
}

function bound(store: MemoryConsumerStore): ConsumerStore {
  return {
    positions: (group) => store.positions(group),
    makePositions: (first) => store.makePositions(first),
    takeOver: (request) => store.takeOver(request),
    reload: (lane) => store.reload(lane),
    catchUp: (lane, known, waiting) => store.catchUp(lane, known, waiting),
    advance: (partition, targets) => store.advance(partition, targets),
    replaceLanes: (partition, from, count, at) => store.replaceLanes(partition, from, count, at),
    begin: (lane) => store.begin(lane),
    mark: (lane, position, offset) => store.mark(lane, position, offset),
    unmark: (lane, position, offset) => store.unmark(lane, position, offset),
    giveBack: (partition, lanes) => store.giveBack(partition, lanes),
    parked: store.parked,
    forgetHandled: (retentionMs) => store.forgetHandled(retentionMs),
  }
}

/** The store with commits that do not tell what was held meanwhile. */
function forgetful(store: MemoryConsumerStore): ConsumerStore {
  const { begin } = committing(store, async (end) => end)
  return {
    ...bound(store),
    begin: async (lane) => {
      const batch = await begin(lane)
      return {
        ...batch,
        commit: async (end) => {
          const done = await batch.commit(end)
          return done.outcome === 'committed' ? { ...done, held: [] } : done
        },
      }
    },
  }
}

/** The retriers' store with other keys for what is done at the end of a try. */
function retrying(store: MemoryConsumerStore, atEnd: (key: LeasedKey) => LeasedKey): ParkedStore {
  const { parked } = store
  return {
    lease: (request) => parked.lease(request),
    begin: (keys) => parked.begin(keys.map(atEnd)),
    failed: (key, failure) => parked.failed(atEnd(key), failure),
    renew: (keys, leaseMs) => parked.renew(keys, leaseMs),
    giveBack: (keys, how, afterMs) => parked.giveBack(keys, how, afterMs),
    refund: (partition, keys) => parked.refund(partition, keys),
    waiting: (group) => parked.waiting(group),
    splitKeys: (group) => parked.splitKeys(group),
  }
}

/** Whatever stands first by now is taken for what was tried. */
function withAnyHead(store: MemoryConsumerStore): ParkedStore {
  return retrying(store, (key) => ({
    ...key,
    get messages() {
      const queue = [...(store.queues(key.partition).get(key.key.toString('base64')) ?? [])].sort(
        (a, b) => a.record.offset - b.record.offset,
      )
      return queue.length < key.messages.length
        ? key.messages
        : queue.slice(0, key.messages.length).map(({ record }) => ({ record, letterId: null }))
    },
  }))
}

interface RedrivenKey {
  readonly lane: LaneRef & { readonly row: LanePosition }
  /** Base64. */
  readonly key: string
}

/** The operators' store, with something done right after a redrive has committed. */
function redriving({ letters, tables }: MemoryConsumerStore, after: (place: RedrivenKey) => void): DeadLetterStore {
  const spoil = async (id: number): Promise<void> => {
    const letter = await letters.get(id)
    const partition = letter === null ? undefined : tables.partition(letter)
    if (letter === null || partition === undefined) return
    const row = partition.lanes[laneOf(letter.key, letter.offset, partition.lanes.length)]!
    after({ lane: { ...partition.ref, lane: row.lane, row }, key: parkedKeyOf(letter).key.toString('base64') })
  }
  return new Proxy(letters, {
    get: (target, name) => {
      if (name !== 'redrive') {
        const value: unknown = Reflect.get(target, name, target)
        return typeof value === 'function' ? (value.bind(target) as unknown) : value
      }
      const redrive: DeadLetterStore['redrive'] = async (asked, options) => {
        const outcomes = await letters.redrive(asked, options)
        const done = outcomes.find(({ outcome }) => outcome === 'redriven')
        if (done !== undefined) await spoil(done.id)
        return outcomes
      }
      return redrive
    },
  })
}

function unblock({ tables }: MemoryConsumerStore, lane: LaneRef, key: string): void {
  const { parked } = tables.partition(lane)!
  parked.set(
    key,
    (parked.get(key) ?? []).map((message) => ({ ...message, dead: false })),
  )
  if (parked.get(key)?.length !== 0) tables.note(lane, key, { nextAttemptAt: 0 })
}

/** The first comes last. */
function turn({ tables }: MemoryConsumerStore, lane: LaneRef, key: string): void {
  const { parked } = tables.partition(lane)!
  const [first, ...rest] = parked.get(key) ?? []
  if (first === undefined || rest.length === 0) return
  const behind = Math.max(...rest.map(({ record }) => record.offset)) + 0.5
  parked.set(key, [...rest, { ...first, record: { ...first.record, offset: behind } }])
}

function withoutSuspects(state: PartitionState): PartitionState {
  return { ...state, lanes: state.lanes.map((lane) => ({ ...lane, suspects: 0 })) }
}

/** The store with other streams, made of the right ones. */
function streaming(store: MemoryOutboxStore, change: (stream: RelayStream) => Partial<RelayStream> = () => ({})): OutboxStore {
  const openStream = async (number: number): Promise<RelayStream> => {
    const stream = await store.openStream(number)
    return {
      takeOver: (claim) => stream.takeOver(claim),
      probe: (cur) => stream.probe(cur),
      tick: (even) => stream.tick(even),
      page: (tick, after, limit) => stream.page(tick, after, limit),
      checkpoint: (tick, page) => stream.checkpoint(tick, page),
      park: (tick, refused) => stream.park(tick, refused),
      noteTopics: (topics) => stream.noteTopics(topics),
      beat: () => stream.beat(),
      close: (outcome) => stream.close(outcome),
      ...change(stream),
    }
  }
  return {
    append: (tx, messages) => store.append(tx, messages),
    pending: () => store.pending(),
    heldBack: () => store.heldBack(),
    openStream,
  }
}

/** A message whose transaction commits after one with a higher number was published is never looked at. */
function publishedByNumber(store: MemoryOutboxStore): OutboxStore {
  let last = 0
  return streaming(store, (stream) => ({
    page: async (tick, after, limit) => {
      const page = await stream.page(tick, after, limit)
      return { ...page, rows: page.rows.filter(({ seq }) => seq > last) }
    },
    checkpoint: (tick, page) => {
      last = Math.max(last, Number(page.last))
      return stream.checkpoint(tick, page)
    },
  }))
}

/** Whoever takes over finds the stream as it was before the unfinished tick. */
function withoutStoredTick(store: MemoryOutboxStore): OutboxStore {
  const [row] = store.tables.streams
  let before = { ...row! }
  return streaming(store, (stream) => ({
    takeOver: (claim) => {
      const { tick, prev, cur, doneSeq } = before
      if (!row!.finished) Object.assign(row!, { tick, prev, cur, doneSeq, finished: true, releasing: false })
      return stream.takeOver(claim)
    },
    tick: (even) => {
      if (row!.finished) before = { ...row! }
      return stream.tick(even)
    },
  }))
}

/** A superseded relay notes that it has sent what its successor has not. */
function checkpointedByAnybody(store: MemoryOutboxStore): OutboxStore {
  const [row] = store.tables.streams
  return streaming(store, (stream) => ({
    checkpoint: async (tick, page) => {
      if (await stream.checkpoint(tick, page)) return true
      Object.assign(row!, { doneSeq: Number(page.last), finished: !page.full })
      return true
    },
  }))
}
