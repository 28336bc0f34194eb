import { TidemarkError } from '../../../errors.ts'
import type { ConnectSettings } from './connect.ts'
import { type Node, placeOf } from './node.ts'

/** What it means that no connection could be made, or that the broker did not take the log-in. `cause` is what the client said. */
export function connectError(to: Node, cause: unknown, { sasl, tls }: ConnectSettings): TidemarkError {
  const chain = causesOf(cause)
  const ours = chain.find((one) => TidemarkError.is(one, 'CONFIG_INVALID'))
  if (TidemarkError.is(ours)) return ours
  const logIn = sasl === undefined ? null : logInFailure(chain)
  if (logIn === 'refused') return logInRefused(to, sasl!.mechanism, chain)
  const why = logIn === 'no secret' ? `what to log in with by ${sasl!.mechanism} could not be had` : rootMessage(cause)
  const remedy = tls !== undefined ? tlsRemedy(chain) : isSilence(chain) ? silenceRemedy({ sasl, tls }) : undefined
  return new TidemarkError('BROKER_UNREACHABLE', `The Kafka broker ${placeOf(to)} could not be reached: ${why}.`, {
    details: { broker: placeOf(to) },
    cause,
    ...(remedy === undefined ? {} : { remedy }),
  })
}

/** What to look for when a broker ends a connection without a word; `undefined` where everything that it may ask for is there. */
export function silenceRemedy({ sasl, tls }: Pick<ConnectSettings, 'sasl' | 'tls'>): string | undefined {
  const missing = [...(tls === undefined ? ['TLS (tls)'] : []), ...(sasl === undefined ? ['a log-in (sasl)'] : [])]
  return missing.length === 0 ? undefined : `Does this port ask for ${missing.join(' or ')}?`
}

/** The innermost cause says what the system saw: `connect ECONNREFUSED …`. */
export function rootMessage(error: unknown): string {
  const last = causesOf(error).at(-1)
  // Several addresses of one name were tried.
  if (last instanceof AggregateError && last.message === '') return last.errors.map(rootMessage).join('; ')
  return last instanceof Error ? last.message.replace(/\.$/, '') : String(error)
}

function causesOf(error: unknown): readonly Error[] {
  const chain: Error[] = []
  for (let one = error; one instanceof Error; one = one.cause) chain.push(one)
  return chain
}

/**
 * Did the broker say no? A connection that broke in the middle of the log-in is none, and whoever should give the secret may be back at the next
 * try. `null`: it was not the log-in.
 */
function logInFailure(chain: readonly Error[]): 'refused' | 'no secret' | null {
  const at = chain.findIndex((one) => codeOf(one) === 'PLT_KFK_AUTHENTICATION')
  if (at < 0) return null
  const below = chain[at + 1]
  if (below === undefined || codeOf(below) === 'PLT_KFK_RESPONSE') return 'refused'
  return codeOf(below)?.startsWith('PLT_KFK_') === true ? null : 'no secret'
}

function logInRefused(to: Node, mechanism: string, chain: readonly Error[]): TidemarkError {
  const offered = chain.map(offeredBy).find((one) => one !== null)
  const offers =
    offered === undefined ? '' : offered.length === 0 ? ' It takes no log-in on this port.' : ` It offers ${offered.join(', ')}.`
  return new TidemarkError('BROKER_AUTHENTICATION', `The Kafka broker ${placeOf(to)} refused the log-in by ${mechanism}.${offers}`, {
    details: { broker: placeOf(to), mechanism },
    remedy: 'Check user, password or token, and that the broker offers this mechanism on this port.',
  })
}

/** The mechanisms that a broker named when it refused the one asked for. */
function offeredBy(error: Error): readonly string[] | null {
  if (!('response' in error) || typeof error.response !== 'object' || error.response === null) return null
  const { response } = error
  return 'mechanisms' in response && Array.isArray(response.mechanisms) ? response.mechanisms.map(String) : null
}

/** The broker ended the connection without a word. */
function isSilence(chain: readonly Error[]): boolean {
  return chain.length > 0 && codeOf(chain.at(-1)!) === 'PLT_KFK_NETWORK'
}

function tlsRemedy(chain: readonly Error[]): string | undefined {
  const codes = chain.map(codeOf)
  if (codes.some((code) => code !== undefined && /CERT|SIGNATURE/.test(code)))
    return "Check that tls.ca holds the authority of the brokers' certificate, and that the certificate names this address (or tls.servername)."
  return codes.some((code) => code === 'ECONNRESET' || code === 'EPROTO' || code?.startsWith('ERR_SSL') === true)
    ? 'Does this port speak TLS?'
    : undefined
}

function codeOf(error: Error): string | undefined {
  return 'code' in error && typeof error.code === 'string' ? error.code : undefined
}
