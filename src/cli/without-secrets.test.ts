import { expect, test } from 'vitest'
import { withoutSecrets } from './without-secrets.ts'

test.each([
  ['migrate takes no arguments; got "postgres://me:secret@host/shop".', 'migrate takes no arguments; got "[a connection string]".'],
  ['got "me:secret@host:5432/shop".', 'got "[a connection string]".'],
  ['got "host=db password=secret dbname=shop"', 'got "host=db password=[hidden] dbname=shop"'],
  ['No connection to Postgres at 127.0.0.1:5432/shop: connect ECONNREFUSED 127.0.0.1:5432.', null],
  ['postgres://me@host/shop?sslmode=require&password=secret', 'postgres://me@host/shop?sslmode=require&password=[hidden]'],
  ['got "postgres://me:12/secret@host/shop"', 'got "[a connection string]"'],
  ['expected a URL such as postgres://user@host:5432/database.', null],
  ['There is no command "outbox stats". See: tidemark --help', null],
])('%s', (text, shown) => {
  expect(withoutSecrets(text)).toBe(shown ?? text)
})
