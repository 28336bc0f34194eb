import { TidemarkError } from '../../errors.ts'
import { type SqlToken, sqlCommands } from '../../message/sql-commands.ts'

/** Most statements begin with another letter, and are not looked at any further. */
const begins = /^[\s;]*(?:--|\/\*|copy\b)/i

/**
 * The error for a `COPY` whose rows would go through the connection, else `null`. It is refused before it is sent, since the server takes whatever
 * follows it on the wire for rows, and gives the connection up. `isScript`: the text holds several commands.
 */
export function copyRefusal(text: string, isScript: boolean): TidemarkError | null {
  if (!(isScript || begins.test(text)) || !/\bcopy\b/i.test(text)) return null
  if (!sqlCommands(text, 'plain', Number.POSITIVE_INFINITY).some(copiesByTheClient)) return null
  return new TidemarkError('INPUT_INVALID', 'COPY from stdin and to stdout do not fit into tx.query, which has no stream of rows.', {
    remedy: 'Insert with unnest($1::text[], …), or use tx.raw with pg-copy-streams.',
  })
}

function copiesByTheClient(command: readonly SqlToken[]): boolean {
  const words = command.map(({ kind, text }) => (kind === 'word' ? text : null))
  if (words[0] !== 'copy') return false
  return words.some((word, i) => (word === 'from' && words[i + 1] === 'stdin') || (word === 'to' && words[i + 1] === 'stdout'))
}
