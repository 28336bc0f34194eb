import type { Command, FlagSpec } from './command.ts'
import { globalFlags } from './flags.ts'
import { table } from './table.ts'

/** All commands. */
export function overview(commands: readonly Command[]): string {
  const rows = commands.map(({ name, summary }) => [`  ${name}`, summary])
  return `Usage: tidemark COMMAND [flags]\n\n${align(rows)}\n\nEvery command: tidemark COMMAND --help\n\n${flagLines(globalFlags)}`
}

/** One command, its example first. */
export function commandHelp(command: Command): string {
  const words = ['tidemark', command.name, command.arguments ?? '', '[flags]'].filter((word) => word !== '').join(' ')
  return `${command.summary}.\n\n  ${command.example}\n\nUsage: ${words}\n\n${flagLines({ ...command.flags, ...globalFlags, ...(command.streams === true ? { json: jsonLines } : {}) })}`
}

const jsonLines: FlagSpec = { type: 'boolean', help: 'Print JSON documents instead of text, a line for each change' }

function flagLines(flags: Readonly<Record<string, FlagSpec>>): string {
  return align(
    Object.entries(flags).map(([name, { short, value, help }]) => [
      `  ${short === undefined ? '    ' : `-${short}, `}--${name}${value === undefined ? '' : ` ${value}`}`,
      help,
    ]),
  )
}

function align(rows: readonly (readonly string[])[]): string {
  const [first, ...rest] = rows
  return first === undefined ? '' : table(first, rest)
}
