import { TidemarkError } from '../../errors.ts'

/**
 * Refuses, with `CONFIG_INVALID`, a connection string that `pg` would take for something else than was meant. A part of it could then come back as
 * the name of a host or a database, the password among it. The error never quotes it.
 */
export function requireConnectionString(text: string): void {
  if (text.startsWith('/') || parse(text) !== null) return
  throw new TidemarkError(
    'CONFIG_INVALID',
    'connectionString: expected a URL such as postgres://user@host:5432/database. The one given is not repeated, since it may hold a password.',
    { remedy: 'Write special characters of user and password as encodeURIComponent does, or use the option `connection`.' },
  )
}

/** Host, port and database of a connection string, for people. Never user, password or parameters. */
export function placeOf(connectionString: string): string {
  const url = parse(connectionString)
  if (url === null) return connectionString.startsWith('/') ? connectionString : 'the given connection string'
  return `${url.searchParams.get('host') ?? url.host}${url.pathname}`
}

function parse(text: string): URL | null {
  // `postgres://user:password@/database?host=/tmp` is one too.
  const candidate = text.replace('@/', '@localhost/')
  const url = URL.canParse(candidate) ? new URL(candidate) : null
  if (url === null || !['postgres:', 'postgresql:', 'socket:'].includes(url.protocol)) return null
  // With a "/", "?" or "#" in the password, unescaped, host and port end there and the rest is a path.
  return `${url.pathname}${url.search}${url.hash}`.includes('@') ? null : url
}
