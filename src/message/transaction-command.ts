import { TidemarkError } from '../errors.ts'
import { type SqlToken, sqlCommands } from './sql-commands.ts'

/** A command on a savepoint, with the name as the server knows it. */
export interface SavepointCommand {
  readonly does: 'savepoint' | 'release' | 'rollback to'
  readonly name: string
}

/** What a text does to the transaction it is sent in. */
export interface TransactionUse {
  /** It has several commands, which go by the simple protocol. */
  readonly isScript: boolean
  readonly savepoint: SavepointCommand | null
}

/** How a command begins that may be one on the transaction. Most statements begin with another letter, and this is all they cost. */
const mayConcern = /^[\s;]*(?:--|\/\*|begin|start|commit|end|abort|prepare|rollback|savepoint|release)/i

/**
 * Looks at a text before it is sent in a transaction that Tidemark began and will end. `null`: one command that does nothing to the transaction.
 * Throws `INPUT_INVALID` for commands that begin or end a transaction, for savepoints among several commands, and for names of savepoints that
 * cannot be followed.
 */
export function transactionUse(text: string, params: readonly unknown[] | undefined): TransactionUse | null {
  // With parameters the protocol takes one command only.
  const maybeScript = params === undefined && text.includes(';')
  if (!maybeScript && !mayConcern.test(text)) return null
  const commands = sqlCommands(text)
  requireHarmless(commands)
  let isScript = commands.length > 1
  if (text.includes('\\')) {
    const otherwise = sqlCommands(text, 'escape')
    requireHarmless(otherwise)
    isScript ||= otherwise.length > 1
  }
  const [command] = commands
  const savepoint = isScript || command === undefined ? null : savepointIn(command)
  return isScript || savepoint !== null ? { isScript, savepoint } : null
}

function requireHarmless(commands: readonly (readonly SqlToken[])[]): void {
  if (commands.some(endsTransaction)) {
    throw new TidemarkError('INPUT_INVALID', 'A command that begins or ends a transaction was sent in one that Tidemark begins and ends.', {
      remedy: 'Throw to undo everything, or use savepoints.',
    })
  }
  if (commands.length < 2 || !commands.some((command) => savepointIn(command) !== null)) return
  throw new TidemarkError('INPUT_INVALID', 'A text of several commands has one on a savepoint among them.', {
    remedy: 'Send commands on savepoints by a tx.query each, so that what was published since can be taken back with them.',
  })
}

function endsTransaction(command: readonly SqlToken[]): boolean {
  const [first, second, third] = command.map(wordOf)
  if (first === 'start' || first === 'prepare') return second === 'transaction'
  if (first === 'rollback') return !(second === 'to' || (isFiller(second) && third === 'to'))
  return first === 'begin' || first === 'commit' || first === 'end' || first === 'abort'
}

function savepointIn(command: readonly SqlToken[]): SavepointCommand | null {
  const words = command.map(wordOf)
  if (words[0] === 'savepoint') return { does: 'savepoint', name: nameIn(command, 1) }
  if (words[0] === 'release') return { does: 'release', name: nameIn(command, afterSavepoint(command, 1)) }
  if (words[0] !== 'rollback') return null
  return { does: 'rollback to', name: nameIn(command, afterSavepoint(command, isFiller(words[1]) ? 3 : 2)) }
}

/** `release savepoint s`, while in `release savepoint` that word is the name. */
function afterSavepoint(command: readonly SqlToken[], at: number): number {
  return wordOf(command[at]) === 'savepoint' && command.length > at + 1 ? at + 1 : at
}

/** The server cuts longer names off. */
const longestName = 63

function nameIn(command: readonly SqlToken[], at: number): string {
  const name = command[at]
  const isName = name !== undefined && name.kind !== 'other' && name.text !== '' && command.length === at + 1
  if (isName && Buffer.byteLength(name.text) <= longestName) return name.text
  throw new TidemarkError('INPUT_INVALID', 'The name of a savepoint was not understood.', {
    remedy: `Use a plain or a double-quoted name of at most ${longestName} bytes.`,
  })
}

function wordOf(token: SqlToken | undefined): string | undefined {
  return token?.kind === 'word' ? token.text : undefined
}

function isFiller(word: string | undefined): boolean {
  return word === 'work' || word === 'transaction'
}
