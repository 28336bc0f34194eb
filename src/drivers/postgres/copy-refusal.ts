import { TidemarkError } from '../../errors.ts'

/** What may hold any word: comments, literals, quoted names. */
const quoted = /--[^\n]*|\/\*[\s\S]*?\*\/|'(?:[^']|'')*'|"(?:[^"]|"")*"|\$(\w*)\$[\s\S]*?\$\1\$/g
const beginsWithCopy = /^(?:\s|--[^\n]*\n|\/\*(?:[^*]|\*(?!\/))*\*\/)*copy\b/i
const copiesByTheClient = /(?:^|;)\s*copy\b[^;]*\b(?:from\s+stdin|to\s+stdout)\b/i

/**
 * The error for a `COPY` whose rows would go through the connection, else `null`. It is refused before it is sent, since the server takes whatever
 * follows it on the wire for rows, and gives the connection up. `isScript`: the text holds several commands.
 */
export function copyRefusal(text: string, isScript: boolean): TidemarkError | null {
  // Most statements begin with another letter, and a test of one character is all they cost.
  if (!isScript && !beginsWithCopy.test(text)) return null
  if (!copiesByTheClient.test(text.replace(quoted, ' '))) return null
  return new TidemarkError('INPUT_INVALID', 'COPY from stdin and to stdout do not fit into tx.query, which has no stream of rows.', {
    remedy: 'Insert with unnest($1::text[], …), or use tx.raw with pg-copy-streams.',
  })
}
