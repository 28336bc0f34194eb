import { EventEmitter, once } from 'node:events'
import { createWriteStream } from 'node:fs'
import { finished } from 'node:stream/promises'
import type { LetterFilter } from '../../dead-letter/index.ts'
import { actorFlags } from '../actor.ts'
import { type Command, type CommandContext, type CommandResult, UsageError } from '../command.ts'
import { filterFlags, filterOf } from '../dead-letter/filter-flags.ts'
import { type LetterDesk, withLetters } from '../dead-letter/letter-desk.ts'
import { detailJson } from '../dead-letter/letter-text.ts'
import { databaseFlags } from '../flags.ts'

export const dlqExportCommand: Command = {
  name: 'dlq export',
  summary: 'Dead letters with all that is known of them, payloads included, as JSON lines',
  example: 'tidemark dlq export --group billing --out letters.jsonl',
  flags: { ...databaseFlags, ...filterFlags, ...actorFlags, out: { type: 'string', value: 'FILE', help: 'Write there (default: stdout)' } },
  run: (context) => {
    const { out } = context.flags
    const filter = filterOf(context.flags, Date.now())
    if (typeof out === 'string') return withLetters(context, (desk) => toFile(desk, filter, out))
    if (context.flags.json === true)
      throw new UsageError('dlq export writes many lines: pass --out FILE with --json, or leave --json away.')
    return withLetters(context, (desk) => toStdout(context, desk, filter))
  },
}

async function toStdout({ io, note }: CommandContext, desk: LetterDesk, filter: LetterFilter): Promise<CommandResult> {
  const count = await exported(desk, filter, async (line) => {
    // Whoever reads may be slower than the database: what is not taken yet must not pile up here.
    if (io.stdout.write(line) === false && io.stdout instanceof EventEmitter) await once(io.stdout, 'drain')
  })
  note(`Exported ${count} dead letter(s).`)
  return { json: { exported: count }, text: '', written: true }
}

async function toFile(desk: LetterDesk, filter: LetterFilter, path: string): Promise<CommandResult> {
  // For its owner alone: there are payloads in it. A file that is there is not overwritten.
  const file = createWriteStream(path, { mode: 0o600, flags: 'wx' })
  const opened = new Promise<void>((resolve, reject) => {
    file.once('open', () => resolve())
    file.once('error', reject)
  })
  await opened.catch((error: unknown) => {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown'
    throw new UsageError(code === 'EEXIST' ? `${path} is there already.` : `${path} cannot be written (${code}).`)
  })
  try {
    const count = await exported(
      desk,
      filter,
      (line) => new Promise((resolve, reject) => file.write(line, (error) => (error ? reject(error) : resolve()))),
    )
    return { json: { exported: count, out: path }, text: `Exported ${count} dead letter(s) to ${path}.` }
  } finally {
    file.end()
    await finished(file).catch(() => undefined)
  }
}

async function exported({ manager, why }: LetterDesk, filter: LetterFilter, write: (line: string) => Promise<void>): Promise<number> {
  let count = 0
  for await (const { context: letter } of manager.export(filter, why)) {
    await write(`${JSON.stringify(detailJson(letter, true))}\n`)
    count += 1
  }
  return count
}
