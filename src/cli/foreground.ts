import { type Operation, isEnded, runOperations } from '../operation/index.ts'
import { askedBy } from './actor.ts'
import type { CommandContext, CommandResult } from './command.ts'
import { lineOf } from './document.ts'
import { operationText, progressLine } from './operation-text.ts'
import type { OperationDesk } from './operations.ts'

/** Between two lines of progress where nobody looks at a terminal. */
const lineEveryMs = 10_000

/** Exit code of a command that was interrupted from the keyboard. */
const interrupted = 130

export interface ForegroundOptions {
  /** `pause`: an interrupt stops the operation. `leave`: it ends the watching alone. */
  readonly onInterrupt: 'pause' | 'leave'
  /** Work on it here, unless another process does. */
  readonly work: boolean
  /** Writes it to `stdout` as a line of JSON whenever it has got on, the last line as it is at the end. @default false: as one document, at the end */
  readonly lines?: boolean
}

/**
 * Watches an operation to its end, with its progress on `stderr`, and works on it in this process if nobody else does. An interrupt pauses it, or leaves it,
 * and says how to go on.
 */
export async function inForeground(
  context: CommandContext,
  desk: OperationDesk,
  id: string,
  options: ForegroundOptions,
): Promise<CommandResult> {
  const { store, kinds, operations } = desk
  const watching = new AbortController()
  const write = options.lines === true ? lineWriter(context) : nothing
  let isInterrupted = false
  const forget = context.io.onInterrupt?.(() => {
    isInterrupted = true
    watching.abort()
  })
  const runner = options.work ? runOperations({ store, kinds, id, origin: 'cli', idleMs: 250 }) : null
  try {
    const tell = teller(context)
    for await (const operation of operations.watch(id, { signal: watching.signal, everyMs: 200 })) {
      tell(operation)
      write(operation)
      if (operation.state === 'paused') break
    }
    if (isInterrupted && options.onInterrupt === 'pause') await pauseIt(context, desk, id)
  } finally {
    forget?.()
    await runner?.stop()
  }
  const operation = await operations.get(id)
  write(operation)
  const ended = isInterrupted ? interruptedResult(context, operation) : result(operation)
  return options.lines === true ? { ...ended, written: true } : ended
}

const nothing = (): void => undefined

function lineWriter({ io }: CommandContext): (operation: Operation) => void {
  let last = ''
  return (operation) => {
    const line = lineOf({ operation })
    if (line !== last) io.stdout.write(line)
    last = line
  }
}

async function pauseIt(context: CommandContext, { operations }: OperationDesk, id: string): Promise<void> {
  const { state } = await operations.get(id)
  // It may have ended in the same moment.
  if (state === 'running' || state === 'freezing') await operations.pause(id, { ...askedBy(context), reason: 'interrupted' })
}

/** A line when the state changes, and then every ten seconds; on a terminal one line that is written over. */
function teller({ io, note, flags }: CommandContext): (operation: Operation) => void {
  let state = ''
  let toldAt = Number.NEGATIVE_INFINITY
  return (operation) => {
    const line = progressLine(operation)
    if (io.stderr.isTTY === true && flags.quiet !== true) {
      io.stderr.write(`\r\u001b[K${line}${isEnded(operation) || operation.state === 'paused' ? '\n' : ''}`)
    } else if (operation.state !== state || performance.now() - toldAt >= lineEveryMs) {
      note(line)
      toldAt = performance.now()
    }
    state = operation.state
  }
}

/** 0 done, 8 done in part, 1 failed or cancelled. */
export function result(operation: Operation): CommandResult {
  const { state, counts } = operation
  const isWhole = counts.failed === 0 && counts.skipped === 0
  const hint = state === 'failed' || state === 'paused' ? [`Go on: tidemark op resume ${operation.id}`] : []
  const detail = isWhole ? [] : [`See why: tidemark op show ${operation.id}`]
  const exitCode = state === 'done' ? (isWhole ? 0 : 8) : state === 'paused' ? 8 : 1
  return { json: { operation }, text: [operationText(operation), ...detail, ...hint].join('\n'), exitCode }
}

function interruptedResult({ note }: CommandContext, operation: Operation): CommandResult {
  if (isEnded(operation)) return result(operation)
  const how =
    operation.state === 'paused' ? `Paused. Go on: tidemark op resume ${operation.id}` : `Left. Look: tidemark op watch ${operation.id}`
  note(how)
  return { json: { operation }, text: operationText(operation), exitCode: interrupted }
}
