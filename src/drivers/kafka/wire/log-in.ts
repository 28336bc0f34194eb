import { TidemarkError } from '../../../errors.ts'
import { type SASLOptions, saslOAuthBearer, saslPlain, saslScramSha } from '../client.ts'

/** A text, or what gives it when it is needed: a secret that rotates. */
export type Secret = string | (() => string | Promise<string>)

/** How to log in to the brokers. Secrets never reach an error or a log. */
export type Sasl =
  | { readonly mechanism: 'PLAIN' | 'SCRAM-SHA-256' | 'SCRAM-SHA-512'; readonly username: Secret; readonly password: Secret }
  | { readonly mechanism: 'OAUTHBEARER'; readonly token: Secret; readonly extensions?: Readonly<Record<string, string>> }

type Authenticate = NonNullable<SASLOptions['authenticate']>
type Ask = Parameters<Authenticate>[2]
type Done = Parameters<Authenticate>[6]

/** The log-in of one connection, as the client carries it out. */
export class LogIn {
  readonly options: SASLOptions
  #grantedMs = Infinity

  constructor(sasl: Sasl) {
    const authenticate: Authenticate = (_mechanism, connection, ask, _username, _password, _token, done) =>
      exchange(sasl, connection, ask, (error, response) => {
        if (error !== null || response === undefined) return done(error)
        const granted = Number(response.sessionLifetimeMs)
        if (granted > 0) this.#grantedMs = granted
        // Told of it, the client would log in again between other requests on the same connection, for which brokers end it.
        done(null, { ...response, sessionLifetimeMs: 0n })
      })
    this.options = { mechanism: sasl.mechanism, authenticate }
  }

  /** How long the broker takes requests on the connection, in milliseconds from the log-in on. It ends the connection at the first one after that. */
  get grantedMs(): number {
    return this.#grantedMs
  }
}

function exchange(sasl: Sasl, connection: Parameters<Authenticate>[1], ask: Ask, done: Done): void {
  switch (sasl.mechanism) {
    case 'PLAIN':
      return saslPlain.authenticate(ask, connection, given('username', sasl.username), given('password', sasl.password), done)
    case 'SCRAM-SHA-256':
    case 'SCRAM-SHA-512': {
      const [username, password] = [given('username', sasl.username), given('password', sasl.password)]
      const algorithm = sasl.mechanism === 'SCRAM-SHA-256' ? 'SHA-256' : 'SHA-512'
      return saslScramSha.authenticate(ask, connection, algorithm, username, password, saslScramSha.defaultCrypto, done)
    }
    case 'OAUTHBEARER':
      return saslOAuthBearer.authenticate(ask, connection, given('token', sasl.token), { ...sasl.extensions }, (error, response) => {
        if (error !== null || response === undefined || response.authBytes.length === 0) return done(error, response)
        // A refusal comes as a question, to be answered by one byte; then the broker says so in the usual way (RFC 7628, 3.2.3).
        ask(connection, Buffer.from([1]), done)
      })
  }
}

/** Asked for at each log-in. What is no text is told by its type alone: the client would quote it. */
function given(what: string, secret: Secret): () => Promise<string> {
  return async () => {
    const value: unknown = typeof secret === 'function' ? await secret() : secret
    if (typeof value === 'string') return value
    throw new TidemarkError('CONFIG_INVALID', `sasl.${what}: expected a text, or a function that gives one, got ${typeof value}.`)
  }
}
