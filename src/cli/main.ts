import { readFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { parseArgs } from 'node:util'
import { type Command, type CommandIo, type CommandResult, type Flags, UsageError } from './command.ts'
import { auditCommand } from './commands/audit.ts'
import { cdcDebeziumConfigCommand } from './commands/cdc-debezium-config.ts'
import { dlqArchiveCommand, dlqAssignCommand, dlqCommentCommand, dlqDiscardCommand, dlqRestoreCommand } from './commands/dlq-change.ts'
import { dlqEditCommand } from './commands/dlq-edit.ts'
import { dlqExportCommand } from './commands/dlq-export.ts'
import { dlqGroupsCommand, dlqListCommand, dlqSearchCommand, dlqShowCommand, dlqStatsCommand } from './commands/dlq-look.ts'
import { dlqRedriveCommand } from './commands/dlq-redrive.ts'
import { inboxStatusCommand } from './commands/inbox-status.ts'
import { keyHoldCommand, keyListCommand, keyReleaseCommand } from './commands/key.ts'
import { eraseCommand } from './commands/erase.ts'
import { migrateCommand } from './commands/migrate.ts'
import {
  opCancelCommand,
  opConfirmCommand,
  opListCommand,
  opPauseCommand,
  opResumeCommand,
  opShowCommand,
  opWatchCommand,
} from './commands/op.ts'
import { outboxDiscardCommand, outboxParkedCommand, outboxReleaseCommand } from './commands/outbox-parked.ts'
import { outboxRebaseCommand } from './commands/outbox-rebase.ts'
import { outboxStatusCommand } from './commands/outbox-status.ts'
import { documentOf, lineOf } from './document.ts'
import { failure } from './failure.ts'
import { globalFlags } from './flags.ts'
import { commandHelp, overview } from './help.ts'
import { optionError } from './option-error.ts'
import { suggestion } from './suggestion.ts'

/** Every command, in the order of the help. */
export const commands: readonly Command[] = [
  migrateCommand,
  outboxStatusCommand,
  outboxParkedCommand,
  outboxReleaseCommand,
  outboxDiscardCommand,
  outboxRebaseCommand,
  inboxStatusCommand,
  dlqStatsCommand,
  dlqListCommand,
  dlqGroupsCommand,
  dlqShowCommand,
  dlqSearchCommand,
  dlqAssignCommand,
  dlqCommentCommand,
  dlqArchiveCommand,
  dlqRestoreCommand,
  dlqDiscardCommand,
  dlqEditCommand,
  dlqExportCommand,
  dlqRedriveCommand,
  keyHoldCommand,
  keyReleaseCommand,
  keyListCommand,
  opListCommand,
  opShowCommand,
  opWatchCommand,
  opConfirmCommand,
  opPauseCommand,
  opResumeCommand,
  opCancelCommand,
  eraseCommand,
  auditCommand,
  cdcDebeziumConfigCommand,
]

/**
 * Runs the command line and resolves to the exit code: 0 done, 1 failed, 2 wrong call or setting, 4 not found, 5 not allowed, 6 conflict,
 * 7 unreachable, 8 done in part, 130 interrupted. Never rejects. Data go to `stdout`, everything else to `stderr`; with `--json` exactly one document goes to
 * `stdout`, errors included, and from a command that streams one on each line.
 */
export async function main(argv: readonly string[], io: CommandIo = processIo()): Promise<number> {
  const asJson = argv.includes('--json')
  try {
    const result = await run(argv, io)
    if (result.written !== true) io.stdout.write(asJson ? documentOf(result.json) : `${result.text}\n`)
    return result.exitCode ?? 0
  } catch (error) {
    const { exitCode, code, message, retryable } = failure(error)
    const json = { error: { code, message, retryable } }
    if (asJson) io.stdout.write(findCommand(argv)?.streams === true ? lineOf(json) : documentOf(json))
    else io.stderr.write(`tidemark: ${code}: ${message}\n`)
    return exitCode
  }
}

async function run(argv: readonly string[], io: CommandIo): Promise<CommandResult> {
  const words = argv[0] === 'help' ? [...argv.slice(1), '--help'] : argv
  const command = findCommand(words)
  if (command === null) return withoutCommand(words)
  const { flags, args } = parse(command, words.slice(command.name.split(' ').length))
  if (flags.help === true) return help(commandHelp(command))
  if (flags.version === true) return versionResult()
  if (command.arguments === undefined && args.length > 0)
    throw new UsageError(`${command.name} takes no arguments; got ${JSON.stringify(args[0])}.`)
  if (flags.yes === true && flags['dry-run'] === true) throw new UsageError('--yes does it and --dry-run does not: pass one of them.')
  const note = (line: string): void => {
    if (flags.quiet !== true) io.stderr.write(`${line}\n`)
  }
  return command.run({ flags, args, io, note })
}

/** The words of a command come first, flags and arguments after them. */
function findCommand(argv: readonly string[]): Command | null {
  return commands.find(({ name }) => name.split(' ').every((word, i) => argv[i] === word)) ?? null
}

/** Nothing, a group of commands, or words that are no command. */
function withoutCommand(argv: readonly string[]): CommandResult {
  const group = commands.filter(({ name }) => name.startsWith(`${argv[0]} `))
  const shown = group.length > 0 ? group : commands
  const rest = argv.slice(group.length > 0 ? 1 : 0)
  // Flags of a command that does not exist are nobody's: the words come first.
  if (rest[0] !== undefined && !rest[0].startsWith('-')) throw unknownCommand(argv, group.length > 0 ? 2 : 1)
  const { flags, args } = parse({ name: group.length > 0 ? argv[0]! : '', flags: {} }, rest)
  if (args.length > 0) throw unknownCommand(args, 1)
  if (flags.version === true) return versionResult()
  const text = overview(shown)
  if (flags.help === true) return help(text)
  throw new UsageError(`A command ${group.length > 0 ? `of ${argv[0]} ` : ''}is missing.\n\n${text}`)
}

function unknownCommand(words: readonly string[], count: number): UsageError {
  const names = commands.map(({ name }) => name)
  const typed = words.slice(0, count).join(' ')
  // The first word of two may be the wrong one.
  const meant = suggestion(words.slice(0, 2).join(' '), names) ?? suggestion(typed, [...names, ...groups(names)])
  const hint = meant === null ? '' : ` Did you mean: tidemark ${meant}?`
  return new UsageError(`There is no command ${JSON.stringify(typed)}.${hint} See: tidemark --help`)
}

function groups(names: readonly string[]): readonly string[] {
  return [...new Set(names.filter((name) => name.includes(' ')).map((name) => name.split(' ')[0]!))]
}

function help(text: string): CommandResult {
  return { json: { help: text }, text }
}

function parse(
  { name, flags }: Pick<Command, 'name' | 'flags'>,
  argv: readonly string[],
): { readonly flags: Flags; readonly args: readonly string[] } {
  try {
    const { values, positionals } = parseArgs({ args: [...argv], options: { ...globalFlags, ...flags }, allowPositionals: true })
    return { flags: values as Flags, args: positionals }
  } catch (error) {
    throw optionError(error, name, { ...globalFlags, ...flags })
  }
}

function versionResult(): CommandResult {
  // The package's own file is two levels up, from the sources as from the build.
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }
  return { json: { version }, text: version }
}

function processIo(): CommandIo {
  const onInterrupt = (listener: () => void): (() => void) => {
    // Once: a second interrupt ends the process, as it would without this.
    process.once('SIGINT', listener)
    return () => process.off('SIGINT', listener)
  }
  return { stdout: process.stdout, stderr: process.stderr, env: process.env, user: userInfo().username, onInterrupt }
}
