import { type IncomingMessage, type ServerResponse, createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import type { Notice } from './notice.ts'
import { webhookNotifier } from './webhook-notifier.ts'

const notice: Notice = {
  severity: 'warning',
  title: 'Dead letters: billing',
  details: '1 dead letter.',
  eventId: 'e-1',
  group: 'billing',
  owner: 'payments team',
  runbook: 'https://wiki.example/billing',
}

const ends: (() => Promise<unknown>)[] = []
afterEach(() => Promise.all(ends.splice(0).map((end) => end())))

interface Hook {
  readonly url: string
  readonly got: { readonly headers: IncomingMessage['headers']; readonly body: string }[]
}

/** A server that answers with these one after the other; `null` for no answer at all. */
async function hook(answers: readonly (number | null)[]): Promise<Hook> {
  const got: Hook['got'] = []
  const server = createServer((request: IncomingMessage, response: ServerResponse) => {
    const answer = answers[got.length]
    let body = ''
    request.setEncoding('utf8').on('data', (text: string) => (body += text))
    request.on('end', () => {
      got.push({ headers: request.headers, body })
      if (answer !== null) response.writeHead(answer ?? 200, answer === 302 ? { location: '/elsewhere' } : {}).end('thanks')
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  ends.push(() => {
    server.closeAllConnections()
    return new Promise((resolve) => server.close(resolve))
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/secret-path`, got }
}

const quick = { firstPauseMs: 1, timeoutMs: 150 }

test('the notice is posted as JSON, with the headers given', async () => {
  const { url, got } = await hook([204])
  await webhookNotifier({ url, headers: { authorization: 'Bearer token' } })(notice)
  expect(got).toHaveLength(1)
  expect(JSON.parse(got[0]!.body)).toEqual(notice)
  expect(got[0]!.headers).toMatchObject({ authorization: 'Bearer token', 'content-type': 'application/json' })
})

test('what may pass is tried again: 500s, 429, no answer', async () => {
  const { url, got } = await hook([503, 429, null, 200])
  await webhookNotifier({ url, ...quick })(notice)
  expect(got).toHaveLength(4)
})

test.each([[400], [401], [302]])('an answer of %i is final, and a token is sent to nobody else', async (answer) => {
  const { url, got } = await hook([answer, 200])
  await expect(webhookNotifier({ url, ...quick })(notice)).rejects.toMatchObject({ code: 'NOTICE_NOT_SENT' })
  expect(got).toHaveLength(1)
})

test('a hook that never answers well is given up after its tries, and the error shows neither path nor header', async () => {
  const { url, got } = await hook([500, 500, 500, 500, 500])
  const failed = webhookNotifier({ url, headers: { authorization: 'Bearer token' }, attempts: 3, ...quick })(notice)
  const error = await Promise.resolve(failed).then(
    () => null,
    (reason: unknown) => reason,
  )
  expect(error).toMatchObject({ code: 'NOTICE_NOT_SENT', retryable: true, message: expect.stringContaining('answered 500') as string })
  expect(JSON.stringify([String(error), error])).not.toMatch(/secret-path|token/)
  expect(got).toHaveLength(3)
})

test('a URL that is none is refused at once, and not shown', () => {
  expect(() => webhookNotifier({ url: 'ftp://secret' })).toThrow(/https:/)
  expect(() => webhookNotifier({ url: 'secret words' })).not.toThrow(/secret/)
  // fetch takes none of these, and would fail for ever.
  expect(() => webhookNotifier({ url: 'https://user:secret@example.com/' })).toThrow(/without a user and a password/)
})
