import type { Message } from '../../message/message.ts'
import type { Handler } from '../handler.ts'
import type { Task } from './plan.ts'

/**
 * How a call runs: beside others, as far as nobody can tell; by itself; or by itself and after a mark, so that what it did can be undone without the rest,
 * at the price of two statements.
 */
export type Manner = 'beside others' | 'alone' | 'undoable'

/** One call of a handler: a message, or a run of messages for a batch handler. */
export interface Call {
  readonly handler: Handler
  /** Never empty. */
  readonly tasks: readonly Task[]
  /** Theirs. */
  readonly messages: readonly Message[]
  /** Of the first one. */
  readonly identity: string
  readonly timestamp: number
  /** Charged runs of it before it came to this topic. */
  readonly before: number
  /** Wire bytes as latin-1. */
  readonly keys: readonly string[]
  readonly manner: Manner
  /** Which run of it in this batch, from 1. */
  readonly tries: number
}

const noKeys: readonly string[] = []

/** One call for each message, or for each run of messages of one batch handler. */
export function callsOf(tasks: readonly Task[], mannerOf: (task: Task) => Manner): Call[] {
  const calls: Call[] = []
  for (let start = 0, end = 0; start < tasks.length; start = end) {
    const { handler } = tasks[start]!
    end = start + 1
    if (!handler.batch) {
      calls.push(callOfOne(tasks[start]!, mannerOf(tasks[start]!)))
      continue
    }
    while (end < tasks.length && tasks[end]!.handler === handler) end += 1
    const run = tasks.slice(start, end)
    const manners = run.map(mannerOf)
    calls.push(callOfRun(handler, run, manners.includes('undoable') ? 'undoable' : manners[0]!))
  }
  return calls
}

/** The same messages, each in a call of its own. */
export function singles(call: Call): readonly Call[] {
  return call.tasks.length === 1 ? [call] : call.tasks.map((task) => callOfOne(task, call.manner))
}

/** Runs for every message, so it makes no more than it must. */
function callOfOne(task: Task, manner: Manner): Call {
  const { entry, handler, message } = task
  const { record, envelope, original } = entry
  const keys = record.key === null ? noKeys : [record.key.toString('latin1')]
  return {
    handler,
    tasks: [task],
    messages: [message],
    identity: envelope!.identity,
    timestamp: original.timestamp,
    before: entry.earlier?.count ?? 0,
    keys,
    manner,
    tries: 1,
  }
}

function callOfRun(handler: Handler, tasks: readonly Task[], manner: Manner): Call {
  const first = tasks[0]!.entry
  const keys = tasks.flatMap(({ entry: { record } }) => (record.key === null ? noKeys : [record.key.toString('latin1')]))
  return {
    handler,
    tasks,
    messages: tasks.map(({ message }) => message),
    identity: first.envelope!.identity,
    timestamp: first.original.timestamp,
    before: first.earlier?.count ?? 0,
    keys: [...new Set(keys)],
    manner,
    tries: 1,
  }
}
