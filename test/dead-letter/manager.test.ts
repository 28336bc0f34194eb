import { afterAll, beforeAll, expect, test } from 'vitest'
import { event, service, settled } from 'tidemark'
import { DeadLetterManager, editLetter } from 'tidemark/dead-letter'
import { PostgresDatabase, PostgresDeadLetterStore, PostgresInboxStore, postgres, postgresBroker } from 'tidemark/postgres'
import { z } from 'zod'
import { testDatabase } from '../support/postgres.ts'

const schema = z.object({ orderId: z.string(), total: z.number() })
const OrderPlaced = event('OrderPlaced', { aggregate: 'order', key: ({ orderId }) => orderId, schema })
const OrderShipped = event('OrderShipped', { aggregate: 'order', key: ({ orderId }) => orderId, schema: z.object({ orderId: z.string() }) })

const begun = new Date()
const { connectionString } = await testDatabase('manager')
const log = postgresBroker({ connectionString: connectionString() })
const shop = service('shop', {
  database: postgres({ connectionString: connectionString() }),
  broker: log,
  consumer: { retry: { maxAttempts: 1 } },
})
shop.consume(OrderPlaced, ({ data }) => {
  if (data.total < 0) throw new RangeError('a total below zero')
})
shop.consume(OrderShipped, () => {
  throw new Error('no address')
})
const database = new PostgresDatabase({ connectionString: connectionString() })
const store = new PostgresDeadLetterStore({ database })

beforeAll(async () => {
  await shop.start()
  await shop.transaction((tx) =>
    shop.publishAll(tx, [
      { event: OrderPlaced, data: { orderId: 'o-1', total: -5 } },
      { event: OrderPlaced, data: { orderId: 'o-2', total: -7 } },
      { event: OrderPlaced, data: { orderId: 'o-3', total: 1 } },
      { event: OrderPlaced, data: { orderId: 'o-5', total: -9 } },
      { event: OrderShipped, data: { orderId: 'o-4' } },
    ]),
  )
  await settled([shop])
  // What follows is about the letters: no consumer takes them up meanwhile.
  await shop.stop()
})
/** Another process of the service, which handles nothing. */
const desk = service('shop', { database: postgres({ connectionString: connectionString() }), broker: log, relay: false })
const { deadLetters } = desk
afterAll(() => Promise.all([shop.stop(), desk.stop(), log.close(), database.close()]))

async function idOf(orderId: string): Promise<number> {
  const { letters } = await store.list({ keys: [orderId], states: ['dead', 'redriven', 'discarded'] })
  return letters[0]!.id
}

test.each<[what: string, filter: Record<string, unknown>]>([
  ['a condition that there is not', { typs: ['nope'] }],
  ['a value that is no list', { types: 'OrderPlaced' }],
  ['ids that are texts', { ids: ['x'] }],
  ['a time that is none', { diedFrom: 'x' }],
])('a filter with %s is refused by everything that takes one, and redrives nothing', async (_what, filter) => {
  const refused = expect.objectContaining({ code: 'INPUT_INVALID' }) as Error
  const before = (await deadLetters.getDeadLetterStats()).totalCount
  await expect(deadLetters.replayAll(filter)).rejects.toEqual(refused)
  await expect(deadLetters.peek(filter)).rejects.toEqual(refused)
  await expect(deadLetters.list(filter)).rejects.toEqual(refused)
  await expect(deadLetters.search('total', filter)).rejects.toEqual(refused)
  await expect(deadLetters.groups(filter)).rejects.toEqual(refused)
  await expect(deadLetters.export(filter).next()).rejects.toEqual(refused)
  expect((await deadLetters.getDeadLetterStats()).totalCount).toBe(before)
})

test('a limit below one, an event type that is no text, and one beside types are refused', async () => {
  const refused = expect.objectContaining({ code: 'INPUT_INVALID' }) as Error
  for (const limit of [-1, 0, 1.5, Number.NaN]) {
    await expect(deadLetters.peek({}, limit)).rejects.toEqual(refused)
    await expect(deadLetters.list({}, { limit })).rejects.toEqual(refused)
    await expect(deadLetters.groups({}, limit)).rejects.toEqual(refused)
  }
  const wrong: Record<string, unknown> = { eventType: 5 }
  await expect(deadLetters.replayAll(wrong)).rejects.toEqual(refused)
  await expect(deadLetters.replayAll({ eventType: 'A', types: ['B'] })).rejects.toEqual(refused)
})

test('the statistics are over all letters, and have exactly the four fields', async () => {
  const stats = await deadLetters.getDeadLetterStats()
  expect(stats).toEqual({
    totalCount: 4,
    byEventType: { OrderPlaced: 3, OrderShipped: 1 },
    byFailureReason: { 'a total below zero': 3, 'no address': 1 },
    oldestMessage: expect.any(Date) as Date,
  })
  expect(Object.keys(stats)).toEqual(['totalCount', 'byEventType', 'byFailureReason', 'oldestMessage'])
})

test('a dead letter is had under the textbook names, with real values', async () => {
  const letter = (await deadLetters.get(await idOf('o-1')))!
  expect(Object.keys(letter)).toEqual([
    'originalEvent',
    'failureReason',
    'failureStack',
    'retryCount',
    'firstFailedAt',
    'lastFailedAt',
    'sourceQueue',
    'context',
  ])
  expect(letter).toMatchObject({
    originalEvent: { eventType: 'OrderPlaced', source: 'shop', key: 'o-1', data: { orderId: 'o-1', total: -5 } },
    failureReason: 'a total below zero',
    failureStack: expect.stringContaining('manager.test.ts') as string,
    sourceQueue: 'outbox.event.order',
    context: { group: 'shop', errorClass: 'RangeError', policy: 'block', state: 'dead' },
  })
  expect(letter.firstFailedAt <= letter.lastFailedAt).toBe(true)
  expect(letter.firstFailedAt >= begun).toBe(true)
  expect(await deadLetters.get(letter.originalEvent.eventId)).toEqual(letter)
  const { record, attempts, key, topic, partition, offset, handler } = letter.context
  expect([record.key, key]).toEqual([Buffer.from('o-1'), Buffer.from('o-1')])
  expect(record.value).toEqual(Buffer.from('{"orderId":"o-1","total":-5}'))
  expect(record.headers).toContainEqual(['ce_id', letter.originalEvent.eventId])
  expect(record).toMatchObject({ topic, partition, offset })
  expect(handler).toEqual(expect.any(String))
  expect(attempts.length).toBeGreaterThan(0)
  expect(attempts.every(({ error }) => error === 'RangeError: a total below zero' || error.includes('a total below zero'))).toBe(true)
  expect(await deadLetters.get('nothing')).toBeNull()
})

async function views(): Promise<readonly (readonly unknown[])[]> {
  const lines = await desk.audit.list({ verb: 'dead-letter.view' })
  return lines.map(({ actor, target, reason, outcome, details }) => [actor.id, target.id, reason, outcome, details])
}

test('who looks at a payload is in the audit log, letter by letter; who counts is not', async () => {
  const before = await views()
  const letterId = await idOf('o-4')
  const id = String(letterId)
  await deadLetters.get(letterId)
  await deadLetters.get(letterId, { actor: 'ada', reason: 'asked by the customer' })
  await deadLetters.get('nothing')
  await deadLetters.getDeadLetterStats()
  await deadLetters.groups()
  const shown = await deadLetters.peek({ types: ['OrderPlaced'] }, 2, { actor: 'eve' })
  expect(shown).toHaveLength(2)
  const added = (await views()).slice(0, -before.length || undefined)
  const details = { group: 'shop' }
  expect(added.slice(2)).toEqual([
    ['ada', id, 'asked by the customer', 'done', details],
    ['shop', id, null, 'done', details],
  ])
  const byId = (a: readonly unknown[], b: readonly unknown[]): number => Number(a[1]) - Number(b[1])
  expect(added.slice(0, 2).toSorted(byId)).toEqual(
    shown.map(({ context }) => ['eve', String(context.id), null, 'done', details]).toSorted(byId),
  )
})

test('who may not look at one letter is shown none, and no line says that any was', async () => {
  const hiddenId = await idOf('o-2')
  const hidden = String(hiddenId)
  const guarded = service('shop', {
    database: postgres({ connectionString: connectionString() }),
    broker: log,
    relay: false,
    authorize: (_actor, verb, { id }) => verb === 'dead-letter.view' && id !== hidden,
  })
  const before = await views()
  await expect(guarded.deadLetters.get(hiddenId)).rejects.toMatchObject({ code: 'NOT_ALLOWED' })
  await expect(guarded.deadLetters.peek()).rejects.toMatchObject({ code: 'NOT_ALLOWED' })
  await guarded.stop()
  const refused = ['shop', hidden, null, 'refused', { group: 'shop' }]
  expect((await views()).slice(0, -before.length || undefined)).toEqual([refused, refused])
})

test('replay gives one letter back, once', async () => {
  const id = await idOf('o-4')
  await deadLetters.replay(id)
  expect((await store.get(id))?.history).toMatchObject([{ action: 'redriven', actor: 'shop' }])
  await expect(deadLetters.replay(id, { actor: 'ada', reason: 'once more' })).rejects.toMatchObject({
    code: 'DEAD_LETTER_CONFLICT',
    details: { reason: 'not-dead' },
  })
  expect((await desk.audit.list({ verb: 'dead-letter.redrive' })).map((line) => [line.actor.id, line.outcome, line.reason])).toEqual([
    ['ada', 'failed', 'once more'],
    ['shop', 'done', null],
  ])
  await expect(deadLetters.replay(999)).rejects.toMatchObject({ code: 'DEAD_LETTER_UNKNOWN' })
})

test('an edit is held against the event: what no handler could take is refused, and the id of the message stays', async () => {
  const id = await idOf('o-1')
  const before = (await store.get(id))!
  const edit = { event: OrderPlaced, actor: 'ada' }
  const wrong = { orderId: 'o-1', total: 'much' } as unknown
  await expect(editLetter(store, id, { ...edit, data: wrong as { orderId: string; total: number } })).rejects.toMatchObject({
    code: 'EVENT_INVALID',
  })
  await expect(editLetter(store, id, { ...edit, content: { value: Buffer.from('{') } })).rejects.toMatchObject({
    code: 'MESSAGE_UNDECODABLE',
  })
  const headers = before.record.headers.map(([name, value]) => [name, name === 'ce_id' ? 'another' : value] as const)
  await expect(editLetter(store, id, { ...edit, content: { headers } })).rejects.toMatchObject({ code: 'INPUT_INVALID' })
  await expect(editLetter(store, id, { ...edit, event: OrderShipped, data: { orderId: 'o-1' } })).rejects.toMatchObject({
    code: 'INPUT_INVALID',
  })
  const both = { data: { orderId: 'o-1', total: 1 }, content: { value: Buffer.from('{}') } }
  await expect(editLetter(store, id, { ...edit, ...both })).rejects.toMatchObject({ code: 'INPUT_INVALID' })
  await expect(editLetter(store, 999, { ...edit, data: { orderId: 'o-1', total: 1 } })).rejects.toMatchObject({
    code: 'DEAD_LETTER_UNKNOWN',
  })
  expect((await store.get(id))?.version).toBe(before.version)

  await editLetter(store, id, { ...edit, data: { orderId: 'o-1', total: 5 }, reason: 'the sign was wrong' })
  const edited = (await deadLetters.get(id))!
  expect(edited.originalEvent.data).toEqual({ orderId: 'o-1', total: -5 })
  const after = (await store.get(id))!
  expect(JSON.parse(String(after.record.value))).toEqual({ orderId: 'o-1', total: 5 })
  const stale = editLetter(store, id, { ...edit, data: { orderId: 'o-1', total: 6 }, version: before.version })
  await expect(stale).rejects.toMatchObject({ code: 'DEAD_LETTER_CONFLICT' })
  const redriven = await editLetter(store, id, { ...edit, data: { orderId: 'o-1', total: 7 }, version: after.version, redrive: true })
  expect(redriven).toMatchObject({ state: 'redriven', edits: 2 })
  expect((await store.get(id))?.lineage.map(({ reason }) => reason)).toEqual(['the sign was wrong', null])
})

test('replayAll gives back what a filter finds, and says how many', async () => {
  expect(await deadLetters.replayAll({ eventType: 'OrderShipped' })).toBe(0)
  expect(await deadLetters.replayAll({ eventType: 'OrderPlaced' })).toBe(2)
  expect(await deadLetters.getDeadLetterStats()).toMatchObject({ totalCount: 0, oldestMessage: undefined })
  expect(await deadLetters.peek()).toEqual([])
  expect(await deadLetters.peek({ states: ['redriven'] })).toHaveLength(4)
})

test('a replay leaves alone what came before the oldest id that is remembered, unless it is forced', async () => {
  await database.query(
    `update tidemark.inbox_rotation set current = 1, previous = 0, since = now(), began = array[now(), now(), null, null]`,
  )
  await database.query(
    `insert into tidemark.dead_letter (group_name, topic, topic_id, partition, log_offset, log_time, key, headers, policy, error_class, reason, attempts)
     select group_name, topic, topic_id, partition, -1, now() - interval '30 days', 'foreign', '[["ce_id","m-1"],["ce_source","/legacy"]]', 'skip', 'Error', 'no', '[]'
     from tidemark.consumer_position limit 1`,
  )
  const id = await idOf('foreign')
  const manager = new DeadLetterManager({ store: async () => store, horizon: { inbox: async () => new PostgresInboxStore({ database }) } })
  await expect(manager.replay(id)).rejects.toMatchObject({ code: 'HORIZON_EXCEEDED', details: { id } })
  await expect(deadLetters.replay(id)).rejects.toMatchObject({ code: 'HORIZON_EXCEEDED' })
  const edit = { event: OrderShipped, content: { headers: [] }, redrive: true }
  await expect(manager.edit(id, edit)).rejects.toMatchObject({ code: 'HORIZON_EXCEEDED' })
  expect(await manager.replayAll({ ids: [id] })).toBe(0)
  expect(await manager.replayAll({ ids: [id] }, { force: true })).toBe(1)
})

test('a replay from where nobody knows the idempotencyId leaves alone what the consumer knew by it', async () => {
  const bury = async (key: string, offset: number, messageId: string): Promise<number> => {
    await database.query(
      `insert into tidemark.dead_letter (group_name, topic, topic_id, partition, log_offset, log_time, key, headers, policy, error_class, reason, attempts, message_id)
       select group_name, topic, topic_id, partition, $2, now() - interval '30 days', $1, '[["x-request","q-1"]]', 'skip', 'Error', 'no', '[]', $3
       from tidemark.consumer_position order by group_name, topic, partition limit 1`,
      [key, offset, messageId],
    )
    return idOf(key)
  }
  const [place] = await database.query(
    'select topic, partition from tidemark.consumer_position order by group_name, topic, partition limit 1',
  )
  const named = await bury('by option', -11, 'q-1')
  const placed = await bury('by place', -12, `${String(place!['topic'])}-${String(place!['partition'])}--12`)
  const manager = new DeadLetterManager({ store: async () => store, horizon: { inbox: async () => new PostgresInboxStore({ database }) } })
  await expect(manager.replay(named)).rejects.toMatchObject({ code: 'HORIZON_EXCEEDED', details: { id: named } })
  await expect(manager.replay(placed)).resolves.toBeUndefined()
  await manager.replay(named, { force: true })
})

test('a text of digits names the message of this id, never the letter of this number', async () => {
  const place =
    '(group_name, topic, topic_id, partition, log_offset, log_time, key, headers, policy, error_class, reason, attempts, message_id)'
  const [own] = await database.query(
    `insert into tidemark.dead_letter ${place}
     select group_name, topic, topic_id, partition, -2, now(), 'digits', '[]', 'skip', 'Error', 'no', '[]', $1
     from tidemark.consumer_position limit 1 returning id`,
    [String(await idOf('o-2'))],
  )
  const id = Number(own!['id'])
  const foreign = String(await idOf('o-2'))
  expect((await deadLetters.get(foreign))?.context.id).toBe(id)
  await expect(deadLetters.get(String(id))).resolves.toBeNull()
  for (const change of [
    () => deadLetters.replay(String(id)),
    () => deadLetters.discard(String(id)),
    () => deadLetters.edit(String(id), { event: OrderShipped, data: { orderId: 'o-2' } }),
  ]) {
    await expect(change()).rejects.toMatchObject({ code: 'DEAD_LETTER_UNKNOWN', details: { id: String(id) } })
  }
  await expect(deadLetters.discard(1.5)).rejects.toMatchObject({ code: 'INPUT_INVALID' })
  expect(await deadLetters.discard(foreign)).toMatchObject({ id, state: 'discarded' })
})

async function deadOne(key: string): Promise<number> {
  await database.query(
    `insert into tidemark.dead_letter (group_name, topic, topic_id, partition, log_offset, log_time, key, value, headers, policy, error_class, reason, attempts)
     select group_name, topic, topic_id, partition, (select min(log_offset) from tidemark.dead_letter) - 1, now(), $1, '{"secret":1}', '[]', 'skip', 'Error', 'no', '[]'
     from tidemark.consumer_position limit 1`,
    [key],
  )
  return idOf(key)
}

test('assign, comment, archive, restore, search and export are the manager’s, each with its line', async () => {
  const id = await deadOne('desk work')
  const by = { actor: 'ada', reason: 'ticket 7' }
  expect(await deadLetters.assign(id, 'ben', by)).toMatchObject({ assignee: 'ben', version: 2 })
  await expect(deadLetters.assign(id, 'eve', { ...by, version: 1 })).rejects.toMatchObject({ code: 'DEAD_LETTER_CONFLICT' })
  await deadLetters.comment(id, 'the customer was merged', by)
  expect((await deadLetters.archive(id, by)).archivedAt).toBeInstanceOf(Date)
  expect((await deadLetters.list({ ids: [id] })).letters).toEqual([])
  const found = (await deadLetters.search('desk work')).letters
  expect(found.map((letter) => letter.id)).toEqual([id])
  expect(JSON.stringify(found)).not.toContain('secret')
  expect((await deadLetters.search('"secret"', { inPayload: true, ids: [id] })).letters).toHaveLength(1)
  expect((await deadLetters.restore(id, by)).archivedAt).toBeNull()
  const exported = []
  for await (const letter of deadLetters.export({ ids: [id] }, by)) exported.push(letter)
  expect(exported.map(({ context }) => String(context.record.value))).toEqual(['{"secret":1}'])
  expect(exported[0]!.context.history.map(({ action, text }) => `${action} ${text}`)).toEqual([
    'assigned ben',
    'commented the customer was merged',
    'archived ticket 7',
    'restored ticket 7',
  ])
  const lines = (await desk.audit.list({ actor: 'ada', target: { type: 'dead-letter', id: String(id) } })).toReversed()
  expect(lines.map(({ verb, outcome, reason }) => `${verb} ${outcome} ${reason}`)).toEqual([
    'dead-letter.assign done ticket 7',
    'dead-letter.assign failed ticket 7',
    'dead-letter.comment done ticket 7',
    'dead-letter.archive done ticket 7',
    'dead-letter.restore done ticket 7',
  ])
  expect(lines[0]!.details).toEqual({ group: 'shop' })
  expect((await desk.audit.list({ verb: 'dead-letter.export' }))[0]).toMatchObject({ outcome: 'done', details: { letters: 1 } })
  await deadLetters.discard(id)
})

test('without its line nothing is changed', async () => {
  const id = await deadOne('lineless')
  const before = await store.get(id)
  await database.query(`create function refuse() returns trigger language plpgsql as $$ begin raise exception 'no line'; end $$`)
  await database.query(`create trigger refuse before insert on tidemark.audit_log for each row execute function refuse()`)
  for (const change of [
    () => deadLetters.assign(id, 'ada'),
    () => deadLetters.discard(id),
    () => deadLetters.replay(id),
    () => deadLetters.edit(id, { event: null, content: { value: null } }),
    () => deadLetters.replayAll({ ids: [id] }),
  ]) {
    await expect(change()).rejects.toThrow('no line')
  }
  await database.query('drop function refuse() cascade')
  expect(await store.get(id)).toEqual(before)
  await deadLetters.discard(id)
})

test('roles decide: a manager that is used as an operator may change letters, others may look', async () => {
  const id = await deadOne('roles')
  const guarded = service('shop', {
    database: postgres({ connectionString: connectionString() }),
    broker: log,
    relay: false,
    // As docs/patterns/operations.md has it.
    authorize: (actor, verb) => verb.endsWith('.view') || actor.roles.includes('operator'),
  })
  const letters = guarded.deadLetters
  expect((await letters.get(id))?.context.id).toBe(id)
  await expect(letters.assign(id, 'ada')).rejects.toMatchObject({ code: 'NOT_ALLOWED' })
  await expect(letters.export({ ids: [id] }).next()).rejects.toMatchObject({ code: 'NOT_ALLOWED' })
  const ada = letters.as({ id: 'ada', roles: ['operator'] })
  await ada.assign(id, 'ada')
  // Nobody borrows the roles of somebody else.
  await expect(ada.comment(id, 'mine now', { actor: 'eve' })).rejects.toMatchObject({ code: 'NOT_ALLOWED' })
  await letters.comment(id, 'so be it', { actor: { id: 'ben', roles: ['operator'] } })
  await ada.discard(id, { reason: 'test data' })
  await guarded.stop()
  const lines = await desk.audit.list({ target: { type: 'dead-letter', id: String(id) }, outcome: 'done' })
  expect(lines.map(({ actor, verb }) => `${actor.id} ${actor.roles.join()} ${verb}`)).toEqual([
    'ada operator dead-letter.discard',
    'ben operator dead-letter.comment',
    'ada operator dead-letter.assign',
    'shop  dead-letter.view',
  ])
})

test('whom the service does not allow it, changes nothing', async () => {
  const guarded = service('shop', {
    database: postgres({ connectionString: connectionString() }),
    broker: log,
    relay: false,
    authorize: (actor) => actor.id === 'ada',
  })
  const before = await store.count({ states: ['dead', 'redriven'] })
  await expect(guarded.deadLetters.replayAll({ states: ['redriven'] })).rejects.toMatchObject({ code: 'NOT_ALLOWED' })
  await expect(guarded.deadLetters.discard(await idOf('o-1'), { actor: 'eve' })).rejects.toMatchObject({ code: 'NOT_ALLOWED' })
  expect(await guarded.deadLetters.replayAll({}, { actor: 'ada' })).toBe(0)
  await guarded.stop()
  const editor = service('shop', {
    database: postgres({ connectionString: connectionString() }),
    broker: log,
    relay: false,
    authorize: (_actor, verb) => verb === 'dead-letter.edit',
  })
  const edit = { event: OrderPlaced, data: { orderId: 'o-2', total: 1 }, redrive: true }
  await expect(editor.deadLetters.edit(await idOf('o-2'), edit)).rejects.toMatchObject({ code: 'NOT_ALLOWED' })
  await editor.stop()
  expect(await store.count({ states: ['dead', 'redriven'] })).toEqual(before)
})
