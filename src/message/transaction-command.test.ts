import { describe, expect, test } from 'vitest'
import { transactionUse } from './transaction-command.ts'

const invalid = expect.objectContaining({ code: 'INPUT_INVALID' })

describe('a command that begins or ends a transaction is refused', () => {
  test.each([
    'commit',
    ' COMMIT;',
    'end',
    'rollback',
    'rollback work',
    'rollback and chain',
    'begin',
    'start transaction',
    'abort',
    "prepare transaction 'x'",
    '-- done\ncommit',
    '-- done\rcommit',
    '/* a */ /* b */ commit and chain',
    '/* a /* nested */ b */ commit',
    ';commit',
    ' ; /* */ ; commit',
  ])('%j', (text) => {
    expect(() => transactionUse(text, undefined)).toThrow(invalid)
    expect(() => transactionUse(text, [])).toThrow(invalid)
  })

  test.each([
    "insert into t values ('it''s'); commit; begin",
    `select 1; "a;b"; commit`,
    "select e'it\\'s; '; commit",
    'select $$ ; $$; commit',
    'select $a$ $$ ; $b$ $a$; commit',
    'select $1$$ ; $$; commit',
    'select (1); -- ;\n commit',
    "select 1 /* ' */; commit -- '",
    'create function begin(atomic int) returns int language sql as $$ select 1 $$; commit',
    'create function f() returns int language sql begin atomic select case when true then 1 end; end; commit',
    // Read by a server with standard_conforming_strings off, or on.
    "select '\\'; commit; --'",
    "select '\\'; select '; commit; --'",
    "select E'a'\n  'b\\'; c'; commit",
  ])('in a text of several: %j', (text) => {
    expect(() => transactionUse(text, undefined)).toThrow(invalid)
  })
})

describe('others pass', () => {
  test.each([
    'insert into commits values (1)',
    'select 1 as end',
    'with x as (select 1) select * from x',
    'endeavour()',
    '/* commit */ select 1',
    'prepare p as select 1',
    '"commit"',
    '',
    '-- commit',
    'insert into t values (1);',
    "select '; commit'",
    'select $$; commit $$;',
    'select 1 /* ; commit */',
    'create function f() returns int language sql begin atomic select 1; select case when true then 2 end; end',
    'create or replace procedure p() language sql begin atomic insert into t values (1); end;',
    'create rule r as on insert to t do also (insert into u values (1); insert into v values (1))',
    "select E'a'\n  'b\\'; commit; c'",
  ])('one command: %j', (text) => {
    expect(transactionUse(text, undefined)).toBeNull()
  })

  test.each(['insert into t values (1); insert into t values (2)', 'begin_work(); select 1', "do $$ begin perform 1; end $$; select ';'"])(
    'several: %j',
    (text) => {
      expect(transactionUse(text, undefined)).toEqual({ isScript: true, savepoint: null })
    },
  )
})

describe('a command on a savepoint is understood', () => {
  test.each<[string, string, string]>([
    ['savepoint s', 'savepoint', 's'],
    ['SAVEPOINT Deep;', 'savepoint', 'deep'],
    ['savepoint "Deep"', 'savepoint', 'Deep'],
    ['savepoint "a""b"', 'savepoint', 'a"b'],
    ['savepoint """"', 'savepoint', '"'],
    ['savepoint É', 'savepoint', 'É'],
    ['-- now\n /* and */ savepoint s -- here', 'savepoint', 's'],
    ['rollback to s', 'rollback to', 's'],
    ['ROLLBACK TO SAVEPOINT s', 'rollback to', 's'],
    ['rollback work to s', 'rollback to', 's'],
    ['rollback transaction to savepoint s', 'rollback to', 's'],
    ['rollback to savepoint', 'rollback to', 'savepoint'],
    ['release s', 'release', 's'],
    ['release savepoint s', 'release', 's'],
    ['release savepoint', 'release', 'savepoint'],
  ])('%j', (text, does, name) => {
    for (const params of [undefined, []]) expect(transactionUse(text, params)).toEqual({ isScript: false, savepoint: { does, name } })
  })

  test.each([
    'savepoint',
    'savepoint a b',
    'savepoint a.b',
    'savepoint ""',
    'savepoint U&"d\\0061"',
    `savepoint ${'n'.repeat(64)}`,
    'rollback to',
  ])('or refused: %j', (text) => {
    expect(() => transactionUse(text, undefined)).toThrow(invalid)
  })

  test.each(['savepoint s; insert into t values (1)', 'insert into t values (1); rollback to s', 'select 1; release s'])(
    'or refused among several: %j',
    (text) => {
      expect(() => transactionUse(text, undefined)).toThrow(/by a tx.query each/)
    },
  )
})

test('a text full of comments is looked at in no time', () => {
  const started = performance.now()
  transactionUse(`${'/* x */'.repeat(20_000)} select 1; ${"select 'x';".repeat(20_000)}`, undefined)
  expect(performance.now() - started).toBeLessThan(500)
})
