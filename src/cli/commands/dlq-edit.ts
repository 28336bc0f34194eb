import { readFile } from 'node:fs/promises'
import { type LetterContent, type LetterDetail, schemaProblem } from '../../dead-letter/index.ts'
import type { EventDefinition } from '../../message/event.ts'
import type { Header } from '../../message/port.ts'
import { actorFlags } from '../actor.ts'
import { type Command, type CommandContext, UsageError } from '../command.ts'
import { requireYes } from '../connect.ts'
import { loadEvents } from '../dead-letter/event-definitions.ts'
import { found, oneIdOf, withLetters } from '../dead-letter/letter-desk.ts'
import { letterJson } from '../dead-letter/letter-text.ts'
import { dangerFlags, databaseFlags } from '../flags.ts'

export const dlqEditCommand: Command = {
  name: 'dlq edit',
  summary: 'Change what a redrive of a dead letter will bring; what stood there is kept',
  example: 'tidemark dlq edit 17 --value order.json --events ./dist/events.js --redrive --yes',
  arguments: 'ID',
  flags: {
    ...databaseFlags,
    ...actorFlags,
    ...dangerFlags,
    value: { type: 'string', value: 'FILE', help: 'The new value of the record' },
    headers: { type: 'string', value: 'FILE', help: 'The new headers: JSON, [[name, text], …]' },
    events: { type: 'string', value: 'MODULE', help: 'A module that exports the event, whose schema the message must satisfy' },
    unchecked: { type: 'boolean', help: 'Do without a schema' },
    seen: { type: 'string', value: 'VERSION', help: 'The version you looked at; another one is a conflict (default: the present one)' },
    redrive: { type: 'boolean', help: 'Give it back to its consumer in the same transaction' },
    force: { type: 'boolean', help: 'Give it back even where the inbox may have forgotten a copy of it' },
  },
  run: async (context) => {
    const id = oneIdOf(context, 'dlq edit')
    const content = await contentOf(context)
    const version = versionOf(context)
    return withLetters(context, async ({ manager, store, why }) => {
      const letter = found(id, await store.get(id))
      const event = await eventOf(context, letter)
      if (context.flags['dry-run'] === true) {
        const problem = event === null ? null : await schemaProblem({ ...letter.record, ...content }, event)
        if (problem !== null) throw problem
        return { json: { dryRun: true, id }, text: `Would edit the dead letter ${id}.` }
      }
      requireYes(context, `This changes the message of the dead letter ${id}.`)
      const redrive = context.flags.redrive === true
      const force = context.flags.force === true
      const edited = await manager.edit(id, { ...why, event, content, version: version ?? letter.version, redrive, force })
      const done = edited.state === 'redriven' ? 'Edited and redriven' : 'Edited'
      return { json: { letter: letterJson(edited) }, text: `${done}: ${id}, version ${edited.version}` }
    })
  },
}

async function contentOf({ flags: { value, headers } }: CommandContext): Promise<LetterContent> {
  if (typeof value !== 'string' && typeof headers !== 'string')
    throw new UsageError('dlq edit: say what is new, with --value FILE or --headers FILE.')
  return {
    ...(typeof value === 'string' ? { value: await read('value', value) } : {}),
    ...(typeof headers === 'string' ? { headers: headersOf((await read('headers', headers)).toString()) } : {}),
  }
}

function read(flag: string, file: string): Promise<Buffer> {
  return readFile(file).catch((error: unknown) => {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown'
    throw new UsageError(`--${flag}: ${file} cannot be read (${code}).`)
  })
}

function headersOf(text: string): readonly Header[] {
  const wrong = new UsageError('--headers: expected JSON, a list of [name, text] or [name, null].')
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch {
    throw wrong
  }
  if (!Array.isArray(parsed) || !parsed.every(isHeader)) throw wrong
  return parsed
}

function isHeader(value: unknown): value is Header {
  return Array.isArray(value) && value.length === 2 && typeof value[0] === 'string' && (typeof value[1] === 'string' || value[1] === null)
}

/** Whoever edits without a schema says so. */
async function eventOf({ flags: { events, unchecked } }: CommandContext, { type, id }: LetterDetail): Promise<EventDefinition | null> {
  if (unchecked === true) return null
  if (typeof events !== 'string')
    throw new UsageError('dlq edit: pass --events MODULE, whose event the message must satisfy, or --unchecked.')
  const known = await loadEvents(events)
  const event = [...known.values()].find((one) => one.type === type || (type === null && one.untyped))
  if (event !== undefined) return event
  throw new UsageError(`--events: the type of the dead letter ${id}, ${type ?? 'none'}, is not among ${[...known.keys()].join(', ')}.`)
}

function versionOf({ flags: { seen } }: CommandContext): number | undefined {
  if (seen === undefined) return undefined
  if (typeof seen === 'string' && /^[1-9]\d{0,8}$/.test(seen)) return Number(seen)
  throw new UsageError(`--seen: expected a whole number, got ${JSON.stringify(seen)}.`)
}
