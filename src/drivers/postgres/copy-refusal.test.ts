import { expect, test } from 'vitest'
import { copyRefusal } from './copy-refusal.ts'

test.each([
  'copy t from stdin',
  ' COPY t (a, b)\n FROM  STDIN with (format csv)',
  '-- rows\ncopy /* from a file */ t from /* there */ stdin',
  'copy (select 1) to stdout',
  `copy t from stdin with (null 'x;y')`,
])('refuses %j', (text) => {
  expect(copyRefusal(text, false)).toMatchObject({ code: 'INPUT_INVALID' })
})

test.each([
  `copy t from '/tmp/from stdin'`,
  `copy (select 'x to stdout') to '/tmp/t'`,
  `copy "from stdin" from program 'cat'`,
  `insert into t values ('copy t from stdin')`,
  'select copy from stdin',
])('lets %j pass', (text) => {
  expect(copyRefusal(text, false)).toBeNull()
})

test('finds it among several commands, and not in their literals', () => {
  expect(copyRefusal('select 1; copy t to stdout', true)).toMatchObject({ code: 'INPUT_INVALID' })
  expect(copyRefusal(`do $$ begin perform 1; copy t to stdout; end $$; select 'a; copy t from stdin'`, true)).toBeNull()
})
