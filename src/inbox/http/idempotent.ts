import { TidemarkError } from '../../errors.ts'
import { crashPoint } from '../../internal/crash-point.ts'
import type { Transaction } from '../../message/transaction.ts'
import { claimCall } from '../claim-call.ts'
import type { HeldClaim } from '../held-claim.ts'
import { inboxIdentity } from '../identity.ts'
import type { Ledger } from '../ledger.ts'
import type { LedgerKey } from '../port.ts'
import { boundedBody } from './bounded-body.ts'
import { keepHttpResponse, replayHttpResponse, withBody } from './kept-response.ts'
import { type ProblemName, problem } from './problem.ts'
import { callerHash, requestFingerprint, requestKey } from './request-key.ts'

/** What a handler gets beside the request. */
export interface IdempotentContext {
  /** What the client sent, without quotation marks; `null`: nothing, where it need not. */
  readonly key: string | null
  /**
   * Stores the response in a transaction of the ledger's database, so that it is there if, and only if, what the handler did there has committed. Hand what
   * this returns to the client, and set `afterCrash: 'run again'`: a crash leaves either both or nothing. Rejects with `CALL_IN_PROGRESS` when
   * another process has taken the request over, so that the transaction rolls back, and with `INPUT_INVALID` for a response that is too large.
   */
  commitWith(tx: Transaction, response: Response): Promise<Response>
}

export type IdempotentHandler = (request: Request, context: IdempotentContext) => Promise<Response>

export interface IdempotentOptions {
  /** For example `service.ledger`. */
  readonly ledger: Ledger
  /** Who asks: an account or a tenant, as authenticated. Keys of two callers never meet. Only a hash of it is stored. */
  readonly caller: (request: Request) => string | Promise<string>
  /** Methods that take a key. Others go to the handler as they are. @default `POST` and `PATCH` */
  readonly methods?: readonly string[]
  /** Answer a request without the header with 400; `false`: hand it to the handler as it is. @default true */
  readonly required?: boolean
  /**
   * What a request gets whose first run was cut off by a crash. `'conflict'`: 409, until the key expires, since it may have taken effect. `'run again'`: right for
   * handlers that use `commitWith`, or that do no harm twice. @default 'conflict'
   */
  readonly afterCrash?: 'conflict' | 'run again'
  /** Which responses are stored. After others the same key runs the handler again. @default those with a status below 500 */
  readonly keeps?: (response: Response) => boolean
  /** @default 24 hours */
  readonly keepMs?: number
  /** A crashed process is taken for dead after this. @default 15,000 ms */
  readonly leaseMs?: number
  /** Wait so long for a request that is being worked on, before 409. @default 0 */
  readonly waitMs?: number
  /** Sent with 409 while the request is being worked on. @default 1 */
  readonly retryAfterSeconds?: number
  /** Larger requests are refused with 413. @default 1,048,576 */
  readonly maxRequestBytes?: number
  /** A larger response goes to its client whole and is not stored; repeats get 409. @default 1,048,576 */
  readonly maxResponseBytes?: number
  /** URL of a page that explains your API's keys, as `type` of the problems. @default about:blank */
  readonly documentation?: string
}

const megabyte = 1_048_576
const defaults = {
  methods: ['POST', 'PATCH'],
  required: true,
  afterCrash: 'conflict',
  keeps: ({ status }: Response): boolean => status < 500,
  keepMs: 24 * 3_600_000,
  leaseMs: 15_000,
  waitMs: 0,
  retryAfterSeconds: 1,
  maxRequestBytes: megabyte,
  maxResponseBytes: megabyte,
  documentation: 'about:blank',
} as const

type Settings = Required<IdempotentOptions>

/**
 * A Fetch handler that answers a repeated request as it did the first time, after the draft "The Idempotency-Key HTTP Header Field" of the IETF: the same
 * status, headers and bytes; 409 with `Retry-After` while the first is being worked on; 422 for another request under the same key; 400 without one.
 *
 * The edge: without `commitWith`, a crash between the handler's effect and the storing of its response leaves an unknown outcome; see `afterCrash`. A handler
 * that throws, or answers 5xx, is run again for the same key. `set-cookie` is not stored.
 *
 * ```ts
 * const handle = idempotent(
 *   async (request, { commitWith }) =>
 *     shop.transaction(async (tx) => {
 *       await tx.query('insert into orders (id) values ($1)', [(await request.json()).id])
 *       return commitWith(tx, Response.json({ placed: true }, { status: 201 }))
 *     }),
 *   { ledger: shop.ledger, caller: (request) => accountOf(request), afterCrash: 'run again' },
 * )
 * ```
 */
export function idempotent(handler: IdempotentHandler, options: IdempotentOptions): (request: Request) => Promise<Response> {
  const settings: Settings = { ...defaults, ...options }
  const methods = new Set(settings.methods.map((method) => method.toUpperCase()))
  return async (request) => {
    const header = request.headers.get('idempotency-key')
    if (!methods.has(request.method) || (header === null && !settings.required)) return handler(request, withoutKey)
    if (header === null) return problem('missing', settings.documentation)
    const key = requestKey(header)
    if (key === null) return problem('malformed', settings.documentation)
    return answer(request, key, handler, settings)
  }
}

async function answer(request: Request, key: string, handler: IdempotentHandler, settings: Settings): Promise<Response> {
  const refused = (name: ProblemName, headers?: Readonly<Record<string, string>>): Response =>
    problem(name, settings.documentation, headers)
  const caller = await settings.caller(request)
  const body = await boundedBody(request.body, settings.maxRequestBytes)
  if ('rest' in body) {
    await body.rest.cancel().catch(() => undefined)
    return refused('too large')
  }
  const { ledger, leaseMs, keepMs, waitMs, afterCrash } = settings
  const fingerprint = requestFingerprint(request, body.bytes)
  const takesOver = afterCrash === 'run again'
  const found = await claimCall(ledger, entryOf(ledger, caller, key), { fingerprint, leaseMs, keepMs, waitMs, takesOver })
  if (found.outcome === 'held') return new Run(found.claim, settings).run(handler, again(request, body.bytes), key)
  if (found.outcome === 'mismatch') return refused('reused')
  if (found.outcome === 'unknown') return refused('unknown')
  if (found.outcome === 'in progress') return refused('in progress', { 'retry-after': String(settings.retryAfterSeconds) })
  return found.response.format === 'too large' ? refused('not kept') : replayHttpResponse(found.response)
}

/** The work on one request that is ours. */
class Run {
  readonly #claim: HeldClaim
  readonly #settings: Settings
  /** What went into a transaction. */
  #stored: Response | null = null

  constructor(claim: HeldClaim, settings: Settings) {
    this.#claim = claim
    this.#settings = settings
  }

  async run(handler: IdempotentHandler, request: Request, key: string): Promise<Response> {
    let response: Response
    crashPoint('ledger:after-begin')
    try {
      response = await handler(request, { key, commitWith: (tx, given) => this.#commitWith(tx, given) })
    } catch (error) {
      // Also where it stored its response: the transaction has rolled back, or else the entry is done and stays.
      await this.#claim.undone()
      throw error
    }
    crashPoint('ledger:after-call')
    if (response === this.#stored) return response
    try {
      return await this.#store(response)
    } catch (error) {
      // The handler has done its work, and its response broke off, or `keeps` failed, or the database.
      await this.#claim.unknown()
      throw error
    }
  }

  async #store(response: Response): Promise<Response> {
    const { keeps, keepMs } = this.#settings
    if (!keeps(response)) {
      await this.#claim.undone()
      return response
    }
    const body = await this.#read(response)
    if ('rest' in body) {
      await this.#claim.done({ format: 'too large', body: Buffer.alloc(0) }, keepMs)
      return withBody(response, body.rest)
    }
    await this.#claim.done(keepHttpResponse(response, body.bytes), keepMs)
    crashPoint('ledger:after-store')
    return withBody(response, body.bytes)
  }

  async #commitWith(tx: Transaction, response: Response): Promise<Response> {
    const body = await this.#read(response)
    if ('rest' in body) {
      await body.rest.cancel().catch(() => undefined)
      const { maxResponseBytes } = this.#settings
      throw new TidemarkError('INPUT_INVALID', `A response to be stored has more than ${maxResponseBytes} bytes (maxResponseBytes).`)
    }
    if (!(await this.#claim.done(keepHttpResponse(response, body.bytes), this.#settings.keepMs, tx)))
      throw new TidemarkError('CALL_IN_PROGRESS', 'Another process has taken this request over; what was done for it here is rolled back.')
    return (this.#stored = withBody(response, body.bytes))
  }

  #read(response: Response): ReturnType<typeof boundedBody> {
    return boundedBody(response.body, this.#settings.maxResponseBytes)
  }
}

const withoutKey: IdempotentContext = { key: null, commitWith: (_tx, response) => Promise.resolve(response) }

function entryOf(ledger: Ledger, caller: string, key: string): LedgerKey {
  return { scope: inboxIdentity(`http ${ledger.scope}`), identity: inboxIdentity(`${callerHash(caller)} ${key}`), step: 'http' }
}

/** The same request, with the body that was read. */
function again({ url, method, headers, signal }: Request, body: Buffer): Request {
  return new Request(url, { method, headers, signal, ...(body.length === 0 ? {} : { body: new Uint8Array(body) }) })
}
