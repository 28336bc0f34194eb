import { afterEach, expect, test } from 'vitest'
import { readAll } from '../../src/conformance/broker/fixture.ts'
import { PostgresDatabase } from '../../src/drivers/postgres/database.ts'
import { lockGroup } from '../../src/drivers/postgres/queries/log-group.ts'
import { type ChildProgram, startProgram } from '../support/child-program.ts'
import { testDatabase } from '../support/postgres.ts'
import { until } from '../support/until.ts'
import { brokerDatabase } from './support/broker-database.ts'
import type { MemberLine } from './support/member-program.ts'
import { type SenderLine, partitions, recordsAPage } from './support/sender-program.ts'

const brokers = await brokerDatabase(await testDatabase('broker_processes'))
const { connectionString } = brokers

afterEach(() => brokers.close())

function startMember(topic: string, sessionTimeoutMs = 1_500): ChildProgram {
  return startProgram(new URL('./support/member-program.ts', import.meta.url), [
    JSON.stringify({ connectionString, topic, sessionTimeoutMs }),
  ])
}

function told(member: ChildProgram): MemberLine[] {
  return member.lines.map((line) => JSON.parse(line) as MemberLine)
}

function heldBy(member: ChildProgram): number[] {
  const held = new Set<number>()
  for (const { what, partitions } of told(member))
    for (const partition of partitions) void (what === 'assigned' ? held.add(partition) : held.delete(partition))
  return [...held].sort((a, b) => a - b)
}

async function untilShared(topic: string, members: readonly ChildProgram[]): Promise<void> {
  await until(`${members.length} processes share ${topic}`, () => {
    const all = members.flatMap(heldBy)
    const sizes = members.map((member) => heldBy(member).length)
    return all.length === 8 && new Set(all).size === 8 && Math.max(...sizes) - Math.min(...sizes) <= 1
  })
}

test("a killed process's partitions go to the other one after its session time-out", async () => {
  await brokers.connect().topics([{ name: 'killing', partitions: 8 }])
  const [one, two] = [startMember('killing'), startMember('killing')]
  await untilShared('killing', [one, two])
  one.signal('SIGKILL')
  await untilShared('killing', [two])
})

test('a frozen process loses its partitions, is told so when it goes on, and gets its part again', async () => {
  await brokers.connect().topics([{ name: 'freezing', partitions: 8 }])
  const [one, two] = [startMember('freezing'), startMember('freezing')]
  await untilShared('freezing', [one, two])
  const before = one.lines.length
  one.signal('SIGSTOP')
  await untilShared('freezing', [two])
  one.signal('SIGCONT')
  await until('the frozen one to be told', () => one.lines.length > before)
  expect(told(one)[before]!.what).toBe('lost')
  await untilShared('freezing', [one, two])
})

test('a process that stands still while it holds the group is ended by the server, and the others go on', async () => {
  const broker = brokers.connect()
  await broker.topics([{ name: 'locking', partitions: 8 }])
  const database = new PostgresDatabase({ connectionString, maxConnections: 1 })
  const session = await database.lease()
  await session.query('begin')
  await lockGroup(session, '"tidemark"', 'g', 500)
  const member = startMember('locking')
  await until('the member to have all', () => heldBy(member).length === 8)
  await expect(session.query('select 1')).rejects.toThrow()
  session.release(true)
  await database.close()
})

test('a killed sender leaves whole pages: all that was acknowledged, nothing in part, nothing twice', async () => {
  const broker = brokers.connect()
  await broker.topics([{ name: 'pages', partitions }])
  let acknowledged = -1
  for (let epoch = 1; epoch <= 4; epoch++) {
    const sender = startProgram(new URL('./support/sender-program.ts', import.meta.url), [JSON.stringify({ connectionString, epoch })])
    const enough = 5 + Math.floor(Math.random() * 40)
    await sender.line(enough)
    await sender.kill()
    acknowledged = (JSON.parse(sender.lines.at(-1)!) as SenderLine).acknowledged
  }
  const { last } = await broker.appender({ sourceEpoch: 'killed.1', generation: 1, stream: 0, epoch: 9, topics: ['pages'] })
  expect(last!.tick).toBeGreaterThanOrEqual(acknowledged)
  expect(last!.seq).toBe(recordsAPage - 1)
  const listener = { assigned: () => undefined, revoked: async () => undefined, lost: () => undefined, failed: () => undefined }
  const membership = await broker.join({ group: 'check', topics: ['pages'] }, listener)
  for (let partition = 0; partition < partitions; partition++) {
    const records = await readAll(membership, [{ topic: 'pages', partition, offset: 0 }])
    const expected = Array.from({ length: last!.tick + 1 }, (_, page) =>
      Array.from({ length: recordsAPage / partitions }, (_, i) => `${page}/${i * partitions + partition}`),
    ).flat()
    expect(records.map(({ value }) => String(value))).toEqual(expected)
    expect(records.map(({ offset }) => offset)).toEqual(expected.map((_, i) => i))
  }
})
