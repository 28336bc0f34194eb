import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { OutboxMessage } from '../message/outbox-message.ts'
import { type AskedCommand, PublishBuffer } from './publish-buffer.ts'

const messageOf = (id: string): OutboxMessage => ({
  id,
  aggregateType: 'a',
  aggregateId: 'k',
  type: 't',
  payload: Buffer.from(''),
  headers: {},
})
const idsOf = (buffer: PublishBuffer) => buffer.messages.map((message) => (message as OutboxMessage).id)

interface Command {
  readonly do: 'savepoint' | 'release' | 'rollback to'
  readonly name: string
  readonly fails: boolean
  readonly answered: boolean
  /** Where there is no such savepoint here, there is one that somebody else made. */
  readonly foreign: boolean
}
type Step = Command | { readonly do: 'publish' }

const command = fc.record({
  do: fc.constantFrom('savepoint', 'savepoint', 'release', 'rollback to'),
  name: fc.constantFrom('a', 'b', 'c'),
  fails: fc.integer({ min: 0, max: 4 }).map((n) => n === 0),
  answered: fc.boolean(),
  foreign: fc.integer({ min: 0, max: 30 }).map((n) => n === 0),
})
const steps = fc.array(fc.oneof(fc.record({ do: fc.constant('publish') }), command) as fc.Arbitrary<Step>, { minLength: 10, maxLength: 40 })

interface Model {
  rows: readonly number[]
  /** Each is a copy of everything at its time. */
  savepoints: readonly { readonly name: string; readonly rows: readonly number[] }[]
  isLost: boolean
}

/** What a server does with a command, told without cleverness. Returns whether it succeeds. */
function execute(model: Model, { do: what, name, fails, foreign }: Command): boolean {
  if (fails) return false
  const at = model.savepoints.map((savepoint) => savepoint.name).lastIndexOf(name)
  if (what === 'savepoint') model.savepoints = [...model.savepoints, { name, rows: model.rows }]
  else if (at === -1) {
    model.isLost ||= foreign
    return foreign
  } else {
    if (what === 'rollback to') model.rows = model.savepoints[at]!.rows
    model.savepoints = model.savepoints.slice(0, what === 'release' ? at : at + 1)
  }
  return true
}

test('it holds what a server would hold, whenever the answers come', () => {
  let takenBack = 0
  let lost = 0
  fc.assert(
    fc.property(steps, fc.infiniteStream(fc.nat()), (steps, choices) => {
      const buffer = new PublishBuffer()
      const model: Model = { rows: [], savepoints: [], isLost: false }
      const open: { readonly asked: AskedCommand; readonly done: boolean }[] = []
      for (const [n, step] of steps.entries()) {
        if (step.do === 'publish') {
          buffer.add(messageOf(String(n)))
          model.rows = [...model.rows, n]
          continue
        }
        const asked = buffer.asks({ does: step.do, name: step.name })
        const done = execute(model, step)
        if (step.answered) buffer.answered(asked, done)
        else open.push({ asked, done })
      }
      while (open.length > 0) {
        const [{ asked, done }] = open.splice(choices.next().value % open.length, 1) as [(typeof open)[number]]
        buffer.answered(asked, done)
      }
      if (model.isLost) expect(() => buffer.messages).toThrow(/not made by tx.query/)
      else expect(idsOf(buffer)).toEqual(model.rows.map(String))
      if (model.isLost) lost += 1
      else if (model.rows.length < steps.filter((step) => step.do === 'publish').length) takenBack += 1
    }),
    { numRuns: 1_000 },
  )
  // Both must be common, or this test has tested nothing.
  expect(takenBack).toBeGreaterThan(100)
  expect(lost).toBeGreaterThan(10)
})
