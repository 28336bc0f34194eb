/** Where a command reads its surroundings from and writes to. Data go to `stdout`, everything else to `stderr`. */
export interface CommandIo {
  readonly stdout: { write(text: string): unknown }
  readonly stderr: { write(text: string): unknown; readonly isTTY?: boolean }
  /** Calls `listener` at an interrupt from the keyboard, which then does not end the process. Returns what takes it back. @default nobody is told */
  readonly onInterrupt?: (listener: () => void) => () => void
  readonly env: Readonly<Record<string, string | undefined>>
  /** Who runs it, for what is recorded with a name. */
  readonly user: string
}

/** The flags as given, by name. */
export type Flags = Readonly<Record<string, string | boolean | undefined>>

/** What a command hands back: one document, and the same in lines for people. */
export interface CommandResult {
  /** Printed with `--json`, beside `schemaVersion`. Holds at least what the text says. */
  readonly json: Readonly<Record<string, unknown>>
  readonly text: string
  /** @default 0 */
  readonly exitCode?: number
  /** The command has written its output itself, line by line: nothing more is printed. @default false */
  readonly written?: boolean
}

/** One command of the table. */
export interface Command {
  /** Its words: `outbox status`. */
  readonly name: string
  readonly summary: string
  /** Shown first in its help. */
  readonly example: string
  /** Names of its arguments, for the help. */
  readonly arguments?: string
  readonly flags: Readonly<Record<string, FlagSpec>>
  /** With `--json` it prints a document on each line, as things change. @default one document at its end */
  readonly streams?: boolean
  run(context: CommandContext): Promise<CommandResult>
}

/** A flag as `node:util` parses it, with the line that explains it. */
export interface FlagSpec {
  readonly type: 'string' | 'boolean'
  readonly short?: string
  readonly help: string
  /** What its value is called in the help. */
  readonly value?: string
}

export interface CommandContext {
  readonly flags: Flags
  readonly args: readonly string[]
  readonly io: CommandIo
  /** A line for people, on `stderr`; nothing with `--quiet`. */
  note(line: string): void
}

/** A wrong call: exit code 2. Says which flag or argument, and what it takes. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** The word stands for nothing: exit code 4. */
export class NotFoundError extends Error {
  override readonly name = 'NotFoundError'
}
