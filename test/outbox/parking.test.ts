import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Relay, type RelayOccurrence, runRelay } from '../../src/outbox/index.ts'
import { PostgresOutboxStore } from '../../src/drivers/postgres/postgres-outbox-store.ts'
import { message, outboxDatabase } from './support/outbox-database.ts'
import { until } from '../support/until.ts'
import { type RecorderOptions, WireRecorder, outOfOrder } from './support/wire-recorder.ts'

const { database, publish, operations, reset } = await outboxDatabase('parking')
await WireRecorder.create(database)

beforeEach(async () => {
  await reset()
  await database.query('truncate wire, wire_owner')
})

const running: Relay[] = []
afterEach(() => Promise.all(running.splice(0).map((relay) => relay.stop())))

const key = { aggregateType: 'order', aggregateId: 'a' }
const large = (version: number) => message('a', version, { payload: Buffer.from(JSON.stringify({ version, pad: 'x'.repeat(5_000) })) })

describe.each(['keep', 'delete'] as const)('with published rows set to %s', (published) => {
  const store = new PostgresOutboxStore({ database, published })

  function start(options: Partial<RecorderOptions>, events: RelayOccurrence[] = []): { relay: Relay; wire: WireRecorder } {
    const wire = new WireRecorder(database, { fences: true, maxRecordBytes: 2_000, ...options })
    const relay = runRelay({ store, broker: wire, pageSize: 3, idleMs: 5, maintain: false, onEvent: (event) => void events.push(event) })
    running.push(relay)
    return { wire, relay }
  }

  const sentOf = async (wire: WireRecorder, name: string): Promise<number[]> =>
    (await wire.sent()).filter((sent) => sent.key === name).map(({ version }) => version)

  test('a refused message parks its key from there on, and no other', async () => {
    const events: RelayOccurrence[] = []
    const { relay, wire } = start({}, events)
    await publish(message('a', 1), large(2), message('b', 1), message('a', 3))
    await publish(message('a', 4), message('b', 2))
    await until(
      'the neighbour is through, the key held',
      async () => (await sentOf(wire, 'b')).length === 2 && (await operations.parked())[0]?.held === 3,
    )
    expect(await sentOf(wire, 'a')).toEqual([1])
    expect(await operations.parked()).toMatchObject([{ ...key, held: 3, releasing: false, reason: expect.stringContaining('2000') }])
    expect(events.filter(({ kind }) => kind === 'parked')).toHaveLength(1)
    expect((await operations.status()).streams).toMatchObject([{ parkedKeys: 1, heldMessages: 3 }])
    await relay.stop()
  })

  test('a release sends what was held, in order and before anything newer of the key', async () => {
    const first = start({})
    await publish(message('a', 1), large(2), message('a', 3), message('b', 1))
    await publish(message('a', 4))
    await until('it is held', async () => (await operations.parked())[0]?.held === 3)
    await first.relay.stop()
    expect(await operations.release([key])).toEqual([key])
    expect(await operations.release([key])).toEqual([])
    await publish(message('a', 5))
    const second = start({ maxRecordBytes: 100_000 })
    await until('all is sent', async () => (await sentOf(second.wire, 'a')).length === 5)
    await until('nothing is parked', async () => (await operations.parked()).length === 0)
    await publish(message('a', 6))
    await until('the key flows', async () => (await sentOf(second.wire, 'a')).length === 6)
    expect(outOfOrder(await second.wire.sent())).toEqual([])
    await second.relay.stop()
  })

  test('a message that is refused again parks its key again, behind what could be sent', async () => {
    const first = start({ refuses: (version) => version === 2 })
    await publish(message('a', 1), message('a', 2))
    await until('it is held', async () => (await operations.parked())[0]?.held === 1)
    await publish(message('a', 3), large(4), message('a', 5))
    await until('what follows is held', async () => (await operations.parked())[0]?.held === 4)
    await first.relay.stop()
    await operations.release([key])
    const second = start({})
    await until('it is parked again', async () => (await operations.parked())[0]?.held === 2 && !(await operations.parked())[0]!.releasing)
    expect(await sentOf(second.wire, 'a')).toEqual([1, 2, 3])
    await operations.discard(key, { actor: 'me' })
    await until('the rest is sent', async () => (await sentOf(second.wire, 'a')).length === 4)
    expect(await sentOf(second.wire, 'a')).toEqual([1, 2, 3, 5])
    await second.relay.stop()
  })

  test('a discard gives up the refused message alone, keeps who did it, and releases the rest', async () => {
    const { relay, wire } = start({})
    await publish(message('a', 1), large(2), message('a', 3))
    await until('it is held', async () => (await operations.parked())[0]?.held === 2)
    expect(await operations.discard(key, { actor: 'ann', reason: 'too large' })).toBe(1)
    expect(await operations.discard(key, { actor: 'ann' })).toBe(0)
    await until('the rest is sent', async () => (await sentOf(wire, 'a')).length === 2)
    expect(await sentOf(wire, 'a')).toEqual([1, 3])
    expect(await database.query('select actor, reason from tidemark.relay_discarded')).toEqual([{ actor: 'ann', reason: 'too large' }])
    await publish(message('a', 4))
    await until('the key flows', async () => (await sentOf(wire, 'a')).length === 3)
    await relay.stop()
  })

  test('all held messages of a key can be discarded at once', async () => {
    const { relay, wire } = start({})
    await publish(large(1), message('a', 2), message('a', 3))
    await until('it is held', async () => (await operations.parked())[0]?.held === 3)
    expect(await operations.discard(key, { actor: 'ann', all: true })).toBe(3)
    await publish(message('a', 4))
    await until('the key flows', async () => (await sentOf(wire, 'a')).length === 1)
    await until('nothing is parked', async () => (await operations.parked()).length === 0)
    expect(await sentOf(wire, 'a')).toEqual([4])
    await relay.stop()
  })

  test('a topic name that no broker takes parks the key instead of stopping the stream', async () => {
    const { relay, wire } = start({})
    await publish(message('a', 1, { aggregateType: 'bad name' }), message('b', 1))
    await until('the neighbour is through', async () => (await wire.count()) === 1)
    expect(await operations.parked()).toMatchObject([{ aggregateType: 'bad name', aggregateId: 'a' }])
    await relay.stop()
  })
})
