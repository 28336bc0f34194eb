/** What can be wrong with a request that has, or lacks, an idempotency key. Statuses are those of the draft. */
const problems = {
  missing: { status: 400, title: 'Idempotency-Key is missing', detail: 'This operation requires the header Idempotency-Key.' },
  malformed: {
    status: 400,
    title: 'Idempotency-Key is not valid',
    detail: 'Send one header with a text of 1 to 255 printable ASCII characters, best a uuid in quotation marks.',
  },
  reused: {
    status: 422,
    title: 'Idempotency-Key is already used',
    detail: 'This key was sent before with another method, path or body. Use a new key for a new request.',
  },
  'in progress': {
    status: 409,
    title: 'A request is outstanding for this Idempotency-Key',
    detail: 'A request with this key is being worked on. Send the same one again later.',
  },
  unknown: {
    status: 409,
    title: 'The outcome of a request with this Idempotency-Key is unknown',
    detail:
      'The server stopped while it worked on this request. It may have taken effect, and is not done again under this key. Look before you use a new one.',
  },
  'not kept': {
    status: 409,
    title: 'The response for this Idempotency-Key was not kept',
    detail: 'The request was done, and its response was too large to be kept. It is not done again under this key.',
  },
  'too large': { status: 413, title: 'The request is too large', detail: 'A request with an Idempotency-Key has to be read as a whole.' },
} as const

export type ProblemName = keyof typeof problems

/** A response of RFC 9457. `type` is the page that explains it. */
export function problem(name: ProblemName, type: string, headers: Readonly<Record<string, string>> = {}): Response {
  const { status, title, detail } = problems[name]
  return new Response(JSON.stringify({ type, title, status, detail }), {
    status,
    headers: { 'content-type': 'application/problem+json', ...headers },
  })
}
