import type { Client, Pool, PoolClient } from 'pg'
import type { TransactionSql } from 'postgres'
import { expectTypeOf, test } from 'vitest'
import type { PgQueryable, PostgresJsSql } from '../../src/drivers/postgres/foreign-transactions.ts'
import type { ClientPool } from '../../src/drivers/postgres/database.ts'
import type { SessionClient } from '../../src/drivers/postgres/session.ts'

// A failure here means that what we ask of a client is no longer what the real library offers.

test('the clients of pg fit pgTransaction, and its pool fits a database', () => {
  expectTypeOf<Client>().toExtend<PgQueryable>()
  expectTypeOf<PoolClient>().toExtend<PgQueryable>()
  expectTypeOf<Pool>().toExtend<ClientPool>()
  expectTypeOf<PoolClient>().toExtend<SessionClient>()
})

test('the sql of a transaction of postgres.js fits postgresJsTransaction', () => {
  expectTypeOf<TransactionSql>().toExtend<PostgresJsSql>()
})
