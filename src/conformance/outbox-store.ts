/**
 * The promises of the `OutboxStore` port, as cases that any test runner can register; see `exercise`. Each case gets an empty outbox.
 *
 * @module
 */
import assert from 'node:assert/strict'
import type { OutboxMessage } from '../message/outbox-message.ts'
import type { Transaction } from '../message/transaction.ts'
import type { OutboxPage, OutboxStore, RelayState, RelayStream, Tick } from '../outbox/port.ts'
import type { Case } from './case.ts'

/** A transaction that the case ends. */
export interface OpenTransaction {
  readonly tx: Transaction
  commit(): Promise<void>
  rollBack(): Promise<void>
}

/** An empty outbox of one stream. `close` ends what is open. */
export interface OutboxStoreFixture {
  readonly store: OutboxStore
  /** Several may be open. */
  begin(): Promise<OpenTransaction>
}

/** Long enough that nobody is taken for dead in a case. */
const leaseMs = 60_000
/** How long a case looks on when something must not happen. */
const lookOnMs = 50

let ids = 0

function message(key: string, payload = ''): OutboxMessage {
  ids += 1
  const id = `00000000-0000-4000-8000-${String(ids).padStart(12, '0')}`
  return { id, aggregateType: 'thing', aggregateId: key, type: 'Happened', payload: Buffer.from(payload), headers: {} }
}

async function publish({ store, begin }: OutboxStoreFixture, ...messages: readonly OutboxMessage[]): Promise<void> {
  const { tx, commit } = await begin()
  await store.append(tx, messages)
  await commit()
}

async function relay({ store }: OutboxStoreFixture, owner = 'a'): Promise<{ stream: RelayStream; state: RelayState }> {
  const stream = await store.openStream(0)
  const state = await stream.takeOver({ owner, leaseMs })
  assert.ok(state !== null, 'the stream was not taken over')
  return { stream, state }
}

async function tick(stream: RelayStream): Promise<Tick> {
  const result = await stream.tick(false)
  assert.ok(typeof result !== 'string' && result.tick !== null, `expected a tick, got ${JSON.stringify(result)}`)
  return result.tick
}

/** One tick from its beginning to its end. */
async function relayed(stream: RelayStream, limit = 100): Promise<string[]> {
  const now = await tick(stream)
  const found: string[] = []
  for (let after = now.doneSeq; ;) {
    const page = await stream.page(now, after, limit)
    found.push(...idsOf(page))
    assert.equal(await stream.checkpoint(now, page), true)
    if (!page.full) return found
    after = page.last
  }
}

const idsOf = ({ rows }: OutboxPage): string[] => rows.map(({ id }) => id)

export const outboxStoreCases: readonly Case<OutboxStoreFixture>[] = [
  {
    name: 'a committed message is in the next tick, and in no later one',
    async run(fixture) {
      const { stream } = await relay(fixture)
      const sent = [message('a', 'first'), message('b', 'second')]
      await publish(fixture, ...sent)
      const now = await tick(stream)
      const page = await stream.page(now, now.doneSeq, 100)
      assert.deepEqual(
        page.rows.map(({ id, aggregateType, aggregateId, type, payload }) => [id, aggregateType, aggregateId, type, payload.toString()]),
        sent.map(({ id, aggregateType, aggregateId, type, payload }) => [id, aggregateType, aggregateId, type, payload.toString()]),
      )
      assert.equal(await stream.checkpoint(now, page), true)
      assert.equal(await stream.tick(false), 'nothing')
      await stream.close('stopped')
    },
  },
  {
    name: 'a message is in no tick before its transaction has committed, nor after it was rolled back',
    async run(fixture) {
      const { stream, state } = await relay(fixture)
      const [kept, undone] = [await fixture.begin(), await fixture.begin()]
      const sent = message('a')
      await fixture.store.append(kept.tx, [sent])
      await fixture.store.append(undone.tx, [message('b')])
      assert.equal((await stream.probe(state.cur)).rows, false)
      assert.equal(await stream.tick(false), 'nothing')
      await undone.rollBack()
      await kept.commit()
      assert.equal((await stream.probe(state.cur)).rows, true)
      assert.deepEqual(await relayed(stream), [sent.id])
      await stream.close('stopped')
    },
  },
  {
    name: 'a transaction that commits after others with higher numbers were published is published all the same',
    async run(fixture) {
      const { stream } = await relay(fixture)
      const late = await fixture.begin()
      const first = message('a')
      await fixture.store.append(late.tx, [first])
      const second = message('b')
      await publish(fixture, second)
      assert.deepEqual(await relayed(stream), [second.id])
      await late.commit()
      assert.deepEqual(await relayed(stream), [first.id])
      await stream.close('stopped')
    },
  },
  {
    name: 'a second transaction with the same key waits for the first, so that numbers of a key rise with the commits',
    async run(fixture) {
      const { stream } = await relay(fixture)
      const [first, second] = [await fixture.begin(), await fixture.begin()]
      const [one, two] = [message('a'), message('a')]
      await fixture.store.append(first.tx, [one])
      let isThrough = false
      const waiting = fixture.store.append(second.tx, [two]).then(() => (isThrough = true))
      await new Promise((resolve) => setTimeout(resolve, lookOnMs))
      assert.equal(isThrough, false, 'the second writer did not wait')
      await first.commit()
      await waiting
      await second.commit()
      assert.deepEqual(await relayed(stream), [one.id, two.id])
      await stream.close('stopped')
    },
  },
  {
    name: 'pages go on after the last one, and the last page is not full',
    async run(fixture) {
      const { stream } = await relay(fixture)
      const sent = Array.from({ length: 5 }, (_, i) => message(`k${i}`))
      await publish(fixture, ...sent)
      assert.deepEqual(
        await relayed(stream, 2),
        sent.map(({ id }) => id),
      )
      await stream.close('stopped')
    },
  },
  {
    name: 'a successor goes on with the unfinished tick where its checkpoint stands, with the same rows, whatever was committed since',
    async run(fixture) {
      const first = await relay(fixture)
      const sent = Array.from({ length: 4 }, (_, i) => message(`k${i}`))
      await publish(fixture, ...sent)
      const now = await tick(first.stream)
      const page = await first.stream.page(now, now.doneSeq, 2)
      assert.equal(await first.stream.checkpoint(now, page), true)
      await first.stream.close('stopped')
      await publish(fixture, message('later'))
      const { stream, state } = await relay(fixture, 'b')
      assert.equal(state.tick, now.tick)
      assert.ok(state.unfinished !== null)
      assert.equal(state.unfinished.doneSeq, page.last)
      const again = await stream.page(state.unfinished, state.unfinished.doneSeq, 100)
      assert.deepEqual(
        idsOf(again),
        sent.slice(2).map(({ id }) => id),
      )
      assert.equal(await stream.tick(false), 'nothing', 'a tick was written over an unfinished one')
      await stream.close('stopped')
    },
  },
  {
    name: 'another owner is left alone while it is alive, and follows at once after a clean stop',
    async run(fixture) {
      const first = await relay(fixture, 'a')
      const other = await fixture.store.openStream(0)
      assert.equal(await other.takeOver({ owner: 'b', leaseMs }), null)
      await first.stream.close('stopped')
      const taken = await other.takeOver({ owner: 'b', leaseMs })
      assert.ok(taken !== null && taken.epoch > first.state.epoch)
      await other.close('stopped')
    },
  },
  {
    name: 'a superseded owner ticks, checkpoints, parks and beats in vain',
    async run(fixture) {
      const old = await relay(fixture)
      await publish(fixture, message('a'))
      const now = await tick(old.stream)
      const page = await old.stream.page(now, now.doneSeq, 100)
      // The same owner over a new connection.
      const { stream, state } = await relay(fixture)
      assert.equal(await old.stream.tick(false), 'fenced')
      assert.equal(await old.stream.checkpoint(now, page), false)
      assert.equal(await old.stream.park(now, [{ row: page.rows[0]!, reason: 'no' }]), false)
      assert.equal(await old.stream.beat(), false)
      assert.equal(await stream.beat(), true)
      assert.deepEqual(idsOf(await stream.page(state.unfinished!, state.unfinished!.doneSeq, 100)), idsOf(page))
      await old.stream.close('stopped')
      assert.equal(await stream.beat(), true, 'a superseded owner gave the stream away')
      await stream.close('stopped')
    },
  },
  {
    name: 'a parked key is held from its refused message on, in later ticks too, and others go on',
    async run(fixture) {
      const { stream } = await relay(fixture)
      const sent = [message('a'), message('b'), message('a')]
      await publish(fixture, ...sent)
      const now = await tick(stream)
      const { rows } = await stream.page(now, now.doneSeq, 100)
      assert.equal(await stream.park(now, [{ row: rows[0]!, reason: 'too large' }]), true)
      const rest = await stream.page(now, now.doneSeq, 100)
      assert.deepEqual(idsOf(rest), [sent[1]!.id])
      assert.deepEqual(
        rest.held.map(({ id }) => id),
        [sent[0]!.id, sent[2]!.id],
      )
      assert.equal(rest.last, String(rows[2]!.seq))
      assert.equal(await stream.checkpoint(now, rest), true)
      assert.deepEqual(await fixture.store.heldBack(), { keys: 1, messages: 2 })
      const more = [message('a'), message('b')]
      await publish(fixture, ...more)
      assert.deepEqual(await relayed(stream), [more[1]!.id])
      assert.equal(await fixture.store.pending(), 0, 'held messages count as pending')
      assert.deepEqual(await fixture.store.heldBack(), { keys: 1, messages: 3 })
      await stream.close('stopped')
    },
  },
  {
    name: 'topics that were noted are known to the next owner',
    async run(fixture) {
      const first = await relay(fixture)
      await first.stream.noteTopics(['t1', 't2'])
      await first.stream.noteTopics(['t2'])
      await first.stream.close('stopped')
      const { stream, state } = await relay(fixture)
      assert.deepEqual([...state.topics].sort(), ['t1', 't2'])
      await stream.close('stopped')
    },
  },
  {
    name: 'pending counts what is committed and not yet published, an unfinished tick included',
    async run(fixture) {
      const { stream } = await relay(fixture)
      assert.equal(await fixture.store.pending(), 0)
      await publish(fixture, message('a'), message('b'))
      assert.equal(await fixture.store.pending(), 2)
      const now = await tick(stream)
      assert.equal(await fixture.store.pending(), 2, 'a tick under way counts as its messages')
      await publish(fixture, message('c'))
      assert.equal(await fixture.store.pending(), 3)
      const first = await stream.page(now, now.doneSeq, 1)
      assert.equal(await stream.checkpoint(now, first), true)
      assert.equal(await fixture.store.pending(), 2, 'what is published of a tick does not count')
      assert.equal(await stream.checkpoint(now, await stream.page(now, first.last, 100)), true)
      assert.equal(await fixture.store.pending(), 1)
      await relayed(stream)
      assert.equal(await fixture.store.pending(), 0)
      await stream.close('stopped')
    },
  },
]
