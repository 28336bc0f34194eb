import type { StoredResponse } from '../port.ts'

interface Head {
  readonly status: number
  readonly statusText: string
  readonly headers: readonly (readonly [name: string, value: string])[]
}

/** Of the connection, of the moment, or secret. */
const notKept = new Set([
  'connection',
  'content-length',
  'date',
  'keep-alive',
  'proxy-authenticate',
  'set-cookie',
  'trailer',
  'transfer-encoding',
  'upgrade',
])
/** No body is possible with these. */
const bodiless = new Set([101, 204, 205, 304])

/** Says of a response that it is a stored one. */
export const replayedHeader = 'idempotency-replayed'

export function keepHttpResponse({ status, statusText, headers }: Response, body: Buffer): StoredResponse {
  const kept: Head = { status, statusText, headers: [...headers].filter(([name]) => !notKept.has(name)) }
  const head = Buffer.from(JSON.stringify(kept))
  const length = Buffer.alloc(4)
  length.writeUInt32BE(head.length)
  return { format: 'http', body: Buffer.concat([length, head, body]) }
}

/** The same status, headers and bytes as the first time, marked as a repeat. */
export function replayHttpResponse({ body: stored }: StoredResponse): Response {
  const end = 4 + stored.readUInt32BE()
  const { status, statusText, headers } = JSON.parse(stored.toString('utf8', 4, end)) as Head
  const response = new Response(bodiless.has(status) ? null : new Uint8Array(stored.subarray(end)), {
    status,
    statusText,
    headers: headers.map(([name, value]): [string, string] => [name, value]),
  })
  response.headers.set(replayedHeader, 'true')
  return response
}

/** A response whose body was read, with that body. */
export function withBody({ status, statusText, headers }: Response, body: Buffer | ReadableStream<Uint8Array>): Response {
  const content = body instanceof Buffer ? new Uint8Array(body) : body
  return new Response(bodiless.has(status) ? null : content, { status, statusText, headers })
}
