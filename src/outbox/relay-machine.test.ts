import { expect, test } from 'vitest'
import { TidemarkError } from '../errors.ts'
import type { OutboxPage, OutboxRow, RelayState, Tick } from './port.ts'
import { type RelayCommand, type RelayEvent, RelayMachine, type RelayNotice } from './relay-machine.ts'

const tick: Tick = { generation: 1, tick: 8, prev: '3:3:', cur: '9:9:', floorNew: '1', doneSeq: '0', releasing: false, skipping: false }
const state: RelayState = {
  epoch: 4,
  sourceEpoch: 's.1',
  generation: 1,
  stream: 0,
  streams: 1,
  tick: 7,
  cur: '3:3:',
  unfinished: null,
  topics: [],
  moved: null,
  coordinates: true,
}

function row(seq: number, more: Partial<OutboxRow> = {}): OutboxRow {
  return {
    seq,
    id: `id-${seq}`,
    aggregateType: 'order',
    aggregateId: 'k',
    type: 'T',
    payload: Buffer.from('{}'),
    headers: {},
    createdAt: new Date(0),
    ...more,
  }
}

function page(rows: readonly OutboxRow[], full = false): OutboxPage {
  return { rows, held: [], last: String(rows.at(-1)?.seq ?? 0), full }
}

/** A machine, and what it told. */
function machine(whenFenced: 'stand-by' | 'stop' = 'stand-by') {
  const notices: RelayNotice[] = []
  const it = new RelayMachine({
    maxRecordBytes: 1_000,
    idleMs: 50,
    standbyMs: 500,
    backoff: { firstMs: 100, maxMs: 1_000 },
    whenFenced,
    random: () => 0,
    notice: (notice) => void notices.push(notice),
  })
  return { it, notices }
}

const opened: RelayEvent = { kind: 'opened', last: null }
const topics: RelayEvent = { kind: 'described', topics: new Map([['outbox.event.order', 4]]) }

/** Feeds events and returns the kinds of the commands. */
function drive(it: RelayMachine, ...events: readonly RelayEvent[]): RelayCommand[] {
  return events.map((event) => it.step(event))
}

/** A machine in the middle of a tick: its first page is read and being sent. */
function sending(full = false) {
  const made = machine()
  const commands = drive(
    made.it,
    { kind: 'taken', state },
    opened,
    { kind: 'probed', probed: { rows: true, passed: 1 } },
    { kind: 'ticked', result: { cur: tick.cur, tick } },
    { kind: 'paged', page: page([row(1), row(2)], full) },
    topics,
  )
  return { ...made, commands }
}

test('one tick goes take-over, appender, probe, tick, page, topics, send, checkpoint, probe', () => {
  const { it, commands } = sending()
  expect(it.start()).toEqual({ kind: 'take-over' })
  const rest = drive(it, { kind: 'sent', refusals: [], owned: true, next: null }, { kind: 'checked', owned: true })
  expect([...commands, ...rest].map(({ kind }) => kind)).toEqual([
    'open-appender',
    'probe',
    'tick',
    'page',
    'describe-topics',
    'send',
    'checkpoint',
    'probe',
  ])
  expect(rest[1]).toEqual({ kind: 'probe', cur: tick.cur })
})

test('an unfinished tick is gone on with before anything is looked for', () => {
  const { it } = machine()
  const [, next] = drive(it, { kind: 'taken', state: { ...state, unfinished: { ...tick, doneSeq: '41' } } }, opened)
  expect(next).toEqual({ kind: 'page', tick: { ...tick, doneSeq: '41' }, after: '41' })
})

test('the next page is read while a full one is sent, and leaves at once while the full one is noted', () => {
  const { it, commands } = sending(true)
  expect(commands.at(-1)).toMatchObject({ kind: 'send', checkpoint: null, prefetch: '2' })
  const [send, checkpoint, probe] = drive(
    it,
    { kind: 'sent', refusals: [], owned: true, next: page([row(3)]) },
    { kind: 'sent', refusals: [], owned: true, next: null },
    { kind: 'checked', owned: true },
  )
  expect(send).toMatchObject({ kind: 'send', records: [{ coordinate: { seq: 3 } }], checkpoint: { last: '2', full: true }, prefetch: null })
  expect(checkpoint).toMatchObject({ kind: 'checkpoint', page: { last: '3', full: false } })
  expect(probe).toMatchObject({ kind: 'probe' })
})

test('a page read ahead that needs more than to be sent waits for the checkpoint of the page before it', () => {
  const large = Buffer.alloc(2_000)
  for (const next of [
    page([row(3, { aggregateType: 'a topic nobody has asked for' })]),
    page([row(3, { payload: large })]),
    { ...page([]), held: [row(3)], last: '3' },
  ]) {
    const { it } = sending(true)
    const [checkpoint] = drive(it, { kind: 'sent', refusals: [], owned: true, next })
    expect(checkpoint).toMatchObject({ kind: 'checkpoint', page: { last: '2', full: true } })
  }
})

test('a checkpoint made meanwhile that finds another owner fences the relay, though its page was sent', () => {
  const { it, notices } = sending(true)
  const [, fenced] = drive(
    it,
    { kind: 'sent', refusals: [], owned: true, next: page([row(3)]) },
    { kind: 'sent', refusals: [], owned: false, next: null },
  )
  expect(fenced).toMatchObject({ kind: 'reconnect' })
  expect(notices).toContainEqual({ kind: 'fenced' })
})

test('a page read ahead is thrown away when a refusal parks a key, since it knows nothing of it', () => {
  const { it } = sending(true)
  const [park, checkpoint, again] = drive(
    it,
    { kind: 'sent', refusals: [{ index: 1, reason: 'no' }], owned: true, next: page([row(3)]) },
    { kind: 'parked', owned: true },
    { kind: 'checked', owned: true },
  )
  expect(park).toMatchObject({ kind: 'park', refused: [{ row: { seq: 2 }, reason: 'no' }] })
  expect(checkpoint).toMatchObject({ kind: 'checkpoint', page: { rows: [{ seq: 1 }], held: [{ seq: 2 }], last: '2' } })
  expect(again).toMatchObject({ kind: 'page', after: '2' })
})

test('a row that is too large is parked before its page is sent, and the page is read again', () => {
  const { it } = machine()
  const large = row(2, { payload: Buffer.alloc(2_000) })
  const commands = drive(
    it,
    { kind: 'taken', state },
    opened,
    { kind: 'probed', probed: { rows: true, passed: 1 } },
    { kind: 'ticked', result: { cur: tick.cur, tick } },
    { kind: 'paged', page: page([row(1), large, row(3)]) },
    topics,
    { kind: 'parked', owned: true },
  )
  expect(commands.slice(-2)).toMatchObject([
    { kind: 'park', refused: [{ row: { seq: 2 } }] },
    { kind: 'page', after: '0' },
  ])
})

test('a topic that takes nothing parks its rows, and is asked for again in the next tick', () => {
  const { it } = machine()
  const refused: RelayEvent = { kind: 'described', topics: new Map([['outbox.event.order', { refused: 'it does not exist' }]]) }
  const commands = drive(
    it,
    { kind: 'taken', state },
    opened,
    { kind: 'probed', probed: { rows: true, passed: 1 } },
    { kind: 'ticked', result: { cur: tick.cur, tick } },
    { kind: 'paged', page: page([row(1)]) },
    refused,
    { kind: 'parked', owned: true },
    { kind: 'paged', page: { rows: [], held: [row(1)], last: '1', full: false } },
    { kind: 'checked', owned: true },
    { kind: 'probed', probed: { rows: true, passed: 1 } },
    { kind: 'ticked', result: { cur: '12:12:', tick: { ...tick, tick: 9 } } },
    { kind: 'paged', page: page([row(2)]) },
    topics,
  )
  expect(commands[5]).toMatchObject({ kind: 'park', refused: [{ row: { seq: 1 }, reason: 'it does not exist' }] })
  expect(commands.slice(-2)).toMatchObject([{ kind: 'describe-topics', names: ['outbox.event.order'] }, { kind: 'send' }])
})

test('a page of nothing but held rows is checkpointed without a send', () => {
  const { it } = machine()
  const held: OutboxPage = { rows: [], held: [row(5)], last: '5', full: false }
  const commands = drive(it, { kind: 'taken', state: { ...state, unfinished: tick } }, opened, { kind: 'paged', page: held })
  expect(commands.at(-1)).toEqual({ kind: 'checkpoint', tick, page: held })
})

test('without rows it rests, twice as long each time up to the limit, and a wake-up goes straight to the tick', () => {
  const { it } = machine()
  drive(it, { kind: 'taken', state }, opened)
  const rests: number[] = []
  for (let i = 0; i < 8; i++) {
    const command = it.step({ kind: 'probed', probed: { rows: false, passed: 0 } })
    if (command.kind === 'rest') rests.push(command.ms)
    it.step({ kind: 'rested', woken: false })
  }
  expect(rests).toEqual([1, 2, 4, 8, 16, 32, 50, 50])
  it.step({ kind: 'probed', probed: { rows: false, passed: 0 } })
  expect(it.step({ kind: 'rested', woken: true })).toEqual({ kind: 'tick', even: false })
})

test('a stream without rows moves its snapshot when many transactions have passed', () => {
  const { it } = machine()
  drive(it, { kind: 'taken', state }, opened)
  expect(it.step({ kind: 'probed', probed: { rows: false, passed: 10_000 } })).toEqual({ kind: 'tick', even: true })
  expect(it.step({ kind: 'ticked', result: { cur: 'new', tick: null } }).kind).toBe('rest')
  expect(it.step({ kind: 'rested', woken: false })).toEqual({ kind: 'probe', cur: 'new' })
})

test.each<[string, RelayEvent]>([
  ['a tick', { kind: 'ticked', result: 'fenced' }],
  ['a checkpoint', { kind: 'checked', owned: false }],
  ['a parking', { kind: 'parked', owned: false }],
])('fenced at %s, it gives everything back and waits for its turn, or ends', (_, fenced) => {
  const patient = machine()
  drive(patient.it, { kind: 'taken', state }, opened)
  expect(patient.it.step(fenced)).toEqual({ kind: 'reconnect', ms: 0 })
  expect(patient.it.step({ kind: 'reconnected' })).toEqual({ kind: 'take-over' })
  expect(patient.it.step({ kind: 'taken', state: null })).toEqual({ kind: 'rest', ms: 500 })
  expect(patient.it.step({ kind: 'rested', woken: false })).toEqual({ kind: 'take-over' })
  const impatient = machine('stop')
  drive(impatient.it, { kind: 'taken', state }, opened)
  expect(impatient.it.step(fenced)).toMatchObject({ kind: 'end', error: { code: 'RELAY_FENCED' } })
})

test('after any failure it waits longer each time, and begins at the take-over', () => {
  const { it, notices } = machine()
  const waits = [1, 2, 3, 4, 5].map(() => {
    it.step({ kind: 'taken', state })
    const command = it.step({ kind: 'failed', error: new Error('broken') })
    it.step({ kind: 'reconnected' })
    return command
  })
  expect(waits).toEqual([50, 100, 200, 400, 500].map((ms) => ({ kind: 'reconnect', ms })))
  expect(notices.filter(({ kind }) => kind === 'failed')).toHaveLength(5)
})

test('an error that no later try can change ends it', () => {
  const { it } = machine()
  const error = new TidemarkError('SCHEMA_MISSING', 'no tables')
  expect(it.step({ kind: 'failed', error })).toEqual({ kind: 'end', error })
})

test.each([
  ['a later tick of this life', { sourceEpoch: 's.1', generation: 1, stream: 0, tick: 8, seq: 1 }],
  ['a later generation', { sourceEpoch: 's.1', generation: 2, stream: 0, tick: 1, seq: 1 }],
  ['a later life', { sourceEpoch: 's.2', generation: 1, stream: 0, tick: 1, seq: 1 }],
])('with %s on the wire, and the stream still its own, it ends before anything is sent: the database was restored', (_, last) => {
  const { it } = machine()
  const [, ask, command] = drive(it, { kind: 'taken', state }, { kind: 'opened', last }, { kind: 'epoch', ours: true })
  expect(ask).toEqual({ kind: 'ask-epoch' })
  expect(command).toMatchObject({ kind: 'end', error: { code: 'RELAY_RESTORED_DATABASE' } })
})

test('with a later tick on the wire that a successor has sent since the take-over it waits for its turn: nothing was restored', () => {
  const { it } = machine()
  const last = { sourceEpoch: 's.1', generation: 1, stream: 0, tick: 8, seq: 1 }
  const [, , command] = drive(it, { kind: 'taken', state }, { kind: 'opened', last }, { kind: 'epoch', ours: false })
  expect(command).toEqual({ kind: 'reconnect', ms: 0 })
})

test.each([
  ['the stored tick', { sourceEpoch: 's.1', generation: 1, stream: 0, tick: 7, seq: 99 }],
  ['an earlier generation', { sourceEpoch: 's.1', generation: 0, stream: 0, tick: 99, seq: 1 }],
  ['an earlier life', { sourceEpoch: 's.0', generation: 9, stream: 0, tick: 99, seq: 1 }],
])('with %s on the wire it goes on', (_, last) => {
  const { it } = machine()
  expect(drive(it, { kind: 'taken', state }, { kind: 'opened', last })[1]).toEqual({ kind: 'probe', cur: state.cur })
})

test('fenced by the broker, it asks the database: a successor, or a database older than the broker remembers', () => {
  const fenced: RelayEvent = { kind: 'failed', error: new TidemarkError('BROKER_FENCED', 'newer') }
  const successor = machine()
  expect(drive(successor.it, { kind: 'taken', state }, fenced)[1]).toEqual({ kind: 'ask-epoch' })
  expect(successor.it.step({ kind: 'epoch', ours: false })).toEqual({ kind: 'reconnect', ms: 0 })
  const restored = machine()
  drive(restored.it, { kind: 'taken', state }, fenced)
  expect(restored.it.step({ kind: 'epoch', ours: true })).toMatchObject({ kind: 'end', error: { code: 'RELAY_RESTORED_DATABASE' } })
})

test('a database on another server is told by its identifiers alone', () => {
  const { it } = machine()
  const [, , command] = drive(it, { kind: 'taken', state: { ...state, moved: 'server 1, now 2' } }, opened, { kind: 'epoch', ours: true })
  expect(command).toMatchObject({ kind: 'end', error: { code: 'RELAY_RESTORED_DATABASE' } })
})

test('a stop finishes the tick under way, takes one more, and ends', () => {
  const { it } = sending()
  it.stop()
  const [checkpoint, last] = drive(it, { kind: 'sent', refusals: [], owned: true, next: null }, { kind: 'checked', owned: true })
  expect([checkpoint!.kind, last]).toEqual(['checkpoint', { kind: 'tick', even: false }])
  expect(it.step({ kind: 'ticked', result: 'nothing' })).toEqual({ kind: 'end', error: null })
})

test('a stop while standing by, or while nothing can be reached, ends at once', () => {
  const standing = machine()
  standing.it.step({ kind: 'taken', state: null })
  standing.it.stop()
  expect(standing.it.step({ kind: 'rested', woken: true })).toEqual({ kind: 'end', error: null })
  const broken = machine()
  broken.it.step({ kind: 'failed', error: new Error('down') })
  broken.it.stop()
  expect(broken.it.step({ kind: 'reconnected' })).toEqual({ kind: 'end', error: null })
})
