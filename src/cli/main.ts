import { readFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { parseArgs } from 'node:util'
import { type Command, type CommandIo, type CommandResult, type Flags, UsageError } from './command.ts'
import { migrateCommand } from './commands/migrate.ts'
import { outboxDiscardCommand, outboxParkedCommand, outboxReleaseCommand } from './commands/outbox-parked.ts'
import { outboxRebaseCommand } from './commands/outbox-rebase.ts'
import { outboxStatusCommand } from './commands/outbox-status.ts'
import { failure } from './failure.ts'
import { globalFlags } from './flags.ts'
import { commandHelp, overview } from './help.ts'

/** Every command, in the order of the help. */
export const commands: readonly Command[] = [
  migrateCommand,
  outboxStatusCommand,
  outboxParkedCommand,
  outboxReleaseCommand,
  outboxDiscardCommand,
  outboxRebaseCommand,
]

/** Of the JSON documents. Rises when a field changes its meaning or goes; new fields do not count. */
const schemaVersion = 1

/**
 * Runs the command line and resolves to the exit code: 0 done, 1 failed, 2 wrong call or setting, 4 not found, 5 not allowed, 6 conflict,
 * 7 unreachable, 8 done in part. Never rejects. Data go to `stdout`, everything else to `stderr`; with `--json` exactly one document goes to
 * `stdout`, errors included.
 */
export async function main(argv: readonly string[], io: CommandIo = processIo()): Promise<number> {
  const asJson = argv.includes('--json')
  try {
    const result = await run(argv, io)
    io.stdout.write(asJson ? `${JSON.stringify({ schemaVersion, ...result.json }, null, 2)}\n` : `${result.text}\n`)
    return result.exitCode ?? 0
  } catch (error) {
    const { exitCode, code, message, retryable } = failure(error)
    if (asJson) io.stdout.write(`${JSON.stringify({ schemaVersion, error: { code, message, retryable } }, null, 2)}\n`)
    else io.stderr.write(`tidemark: ${message}\n`)
    return exitCode
  }
}

async function run(argv: readonly string[], io: CommandIo): Promise<CommandResult> {
  const command = findCommand(argv)
  if (command === null) return withoutCommand(argv)
  const { flags, args } = parse(command, argv.slice(command.name.split(' ').length))
  if (flags.help === true) return { json: { help: commandHelp(command) }, text: commandHelp(command) }
  if (flags.version === true) return versionResult()
  if (command.arguments === undefined && args.length > 0)
    throw new UsageError(`${command.name} takes no arguments; got ${JSON.stringify(args[0])}.`)
  const note = (line: string): void => {
    if (flags.quiet !== true) io.stderr.write(`${line}\n`)
  }
  return command.run({ flags, args, io, note })
}

/** The words of a command come first, flags and arguments after them. */
function findCommand(argv: readonly string[]): Command | null {
  return commands.find(({ name }) => name.split(' ').every((word, i) => argv[i] === word)) ?? null
}

function withoutCommand(argv: readonly string[]): CommandResult {
  const [word] = argv
  const group = commands.filter(({ name }) => name.startsWith(`${word} `))
  if (word !== undefined && !word.startsWith('-') && !(group.length > 0 && isHelp(argv[1]))) {
    const given = group.length > 0 && argv[1] !== undefined ? `${word} ${argv[1]}` : word
    throw new UsageError(`There is no command ${JSON.stringify(given)}. See: tidemark --help`)
  }
  const { flags, args } = parse({ flags: {} }, argv.slice(group.length > 0 ? 1 : 0))
  if (args.length > 0) throw new UsageError(`There is no command ${JSON.stringify(args[0])}. See: tidemark --help`)
  if (flags.version === true) return versionResult()
  const text = overview(group.length > 0 ? group : commands)
  if (flags.help === true) return { json: { help: text }, text }
  throw new UsageError(`A command is missing.\n\n${text}`)
}

function isHelp(word: string | undefined): boolean {
  return word === '--help' || word === '-h'
}

function parse({ flags }: Pick<Command, 'flags'>, argv: readonly string[]): { readonly flags: Flags; readonly args: readonly string[] } {
  try {
    const { values, positionals } = parseArgs({ args: [...argv], options: { ...globalFlags, ...flags }, allowPositionals: true })
    return { flags: values as Flags, args: positionals }
  } catch (error) {
    // An unknown flag, a missing value: Node says which.
    throw new UsageError(error instanceof Error ? error.message : String(error))
  }
}

function versionResult(): CommandResult {
  // The package's own file is two levels up, from the sources as from the build.
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }
  return { json: { version }, text: version }
}

function processIo(): CommandIo {
  return { stdout: process.stdout, stderr: process.stderr, env: process.env, user: userInfo().username }
}
