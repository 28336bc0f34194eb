import type { Transaction } from '../../message/transaction.ts'
import { crashPoint } from '../../internal/crash-point.ts'
import type { AuditEntry, AuditRecord } from '../../operation/audit.ts'
import type { FrozenItem, Item, ItemResult, Operation } from '../../operation/operation.ts'
import { largestStep } from '../../operation/pace.ts'
import type {
  AuditFilter,
  ClaimRequest,
  ItemFilter,
  NewOperation,
  OperationFilter,
  OperationLease,
  OperationStore,
  OperationWish,
} from '../../operation/port.ts'
import type { PostgresDatabase } from './database.ts'
import { defaultSchema, quotedSchema } from './migrations/schema-name.ts'
import { auditRecord, insertAudit, selectAudit } from './queries/audit.ts'
import * as queries from './queries/operation.ts'
import type { Session } from './session.ts'
import type { Statement, StatementResult } from './statement-run.ts'

/** Operations and the audit log in the service's Postgres database. Statements: `queries/operation.ts`, `queries/audit.ts`. */
export class PostgresOperationStore implements OperationStore {
  readonly #database: PostgresDatabase
  readonly #schema: string

  constructor({ database, schema = defaultSchema }: { readonly database: PostgresDatabase; readonly schema?: string }) {
    this.#database = database
    this.#schema = quotedSchema(schema)
  }

  async record(entry: AuditEntry): Promise<void> {
    await this.#run([insertAudit(this.#schema, entry)])
  }

  async listAudit(filter: AuditFilter): Promise<readonly AuditRecord[]> {
    const [lines] = await this.#run([selectAudit(this.#schema, filter)])
    return lines!.rows.map(auditRecord)
  }

  async create(operation: NewOperation, audit: AuditEntry): Promise<void> {
    // Several statements of one round trip are one transaction.
    await this.#run([queries.insertOperation(this.#schema, operation), insertAudit(this.#schema, audit)])
  }

  async get(id: string): Promise<Operation | null> {
    if (!isUuid(id)) return null
    const [found] = await this.#run([queries.selectOperation(this.#schema, id)])
    return found!.rows.map(queries.operationOf)[0] ?? null
  }

  async list(filter: OperationFilter): Promise<readonly Operation[]> {
    const [found] = await this.#run([queries.selectOperations(this.#schema, filter)])
    return found!.rows.map(queries.operationOf)
  }

  async items(id: string, filter: ItemFilter): Promise<readonly Item[]> {
    if (!isUuid(id)) return []
    const [found] = await this.#run([queries.selectItems(this.#schema, id, filter)])
    return found!.rows.map(queries.itemOf)
  }

  async change(id: string, wish: OperationWish, audit: AuditEntry): Promise<Operation | null> {
    if (!isUuid(id)) return null
    return this.#database.transaction(async (_tx, session) => {
      const [changed] = await session.run([queries.changeOperation(this.#schema, id, wish)])
      const operation = changed!.rows.map(queries.operationOf)[0] ?? null
      if (operation !== null) await session.run([insertAudit(this.#schema, audit)])
      return operation
    })
  }

  async claim(request: ClaimRequest): Promise<OperationLease | null> {
    if (request.id !== undefined && !isUuid(request.id)) return null
    const [claimed] = await this.#run([queries.claimOperation(this.#schema, request)])
    const [row] = claimed!.rows
    if (row === undefined) return null
    const ref = { id: String(row['id']), token: Number(row['lease']), leaseMs: request.leaseMs }
    return new PostgresOperationLease(this.#database, this.#schema, ref, queries.operationOf(row))
  }

  async forget(keepMs: number): Promise<boolean> {
    const [gone] = await this.#run([queries.forgetOperation(this.#schema, keepMs)])
    return gone!.rows.length > 0
  }

  #run(statements: readonly Statement[]): Promise<StatementResult[]> {
    return this.#database.use((session) => session.run(statements))
  }
}

/** Every write compares the token in the statement that writes. */
class PostgresOperationLease implements OperationLease {
  readonly operation: Operation
  readonly #database: PostgresDatabase
  readonly #schema: string
  readonly #ref: queries.LeaseRef

  constructor(database: PostgresDatabase, schema: string, ref: queries.LeaseRef, operation: Operation) {
    this.#database = database
    this.#schema = schema
    this.#ref = ref
    this.operation = operation
  }

  get token(): number {
    return this.#ref.token
  }

  async renew(): Promise<boolean> {
    return (await this.#one(queries.renewLease(this.#schema, this.#ref))).count === 1
  }

  async clear(): Promise<boolean> {
    return this.#transaction(async (session) => {
      const [held] = await session.run([queries.clearTotal(this.#schema, this.#ref)])
      if (held!.count === 0) return false
      await session.run([queries.deleteItems(this.#schema, this.#ref.id)])
      return true
    })
  }

  async freeze(items: readonly FrozenItem[]): Promise<boolean> {
    return items.length === 0 || (await this.#one(queries.addItems(this.#schema, this.#ref, items))).count > 0
  }

  async frozen(): Promise<number | 'fenced'> {
    const { rows } = await this.#one(queries.setFrozen(this.#schema, this.#ref))
    return rows[0] === undefined ? 'fenced' : Number(rows[0]['total'])
  }

  async pending(next: number, limit: number): Promise<readonly Item[]> {
    const more = Math.max(0, largestStep - limit)
    return (await this.#one(queries.pendingItems(this.#schema, this.#ref.id, next, limit, more))).rows.map(queries.itemOf)
  }

  async step(from: number, work: (tx: Transaction) => Promise<readonly ItemResult[]>): Promise<'committed' | 'fenced'> {
    try {
      return await this.#transaction(async (session, tx) => {
        const results = await work(tx)
        crashPoint('operation:after-effect')
        const [stored] = await session.run([queries.storeResults(this.#schema, this.#ref, from, results)])
        if (stored!.count === 0) throw new Fenced()
        crashPoint('operation:before-commit')
        return 'committed' as const
      })
    } catch (error) {
      if (error instanceof Fenced) return 'fenced'
      throw error
    }
  }

  async started(after: number, limit: number): Promise<readonly Item[]> {
    const statement = queries.selectItems(this.#schema, this.#ref.id, { outcomes: ['started'], after, limit })
    return (await this.#one(statement)).rows.map(queries.itemOf)
  }

  async settle(results: readonly ItemResult[]): Promise<queries.SettledCounts | 'fenced'> {
    return this.#transaction(async (session) => {
      const [held] = await session.run([queries.holdLease(this.#schema, this.#ref)])
      if (held!.count === 0) return 'fenced'
      const [settled] = await session.run([queries.settleItems(this.#schema, this.#ref.id, results)])
      const count = (outcome: string): number => settled!.rows.filter((row) => row['outcome'] === outcome).length
      const ended = { done: count('done'), failed: count('failed'), skipped: count('skipped') }
      await session.run([queries.countSettled(this.#schema, this.#ref.id, ended)])
      return ended
    })
  }

  async end(as: 'done' | 'failed', error: string | null, audit: AuditEntry): Promise<boolean> {
    return this.#transaction(async (session) => {
      const [ended] = await session.run([queries.endOperation(this.#schema, this.#ref, as, error)])
      if (ended!.count === 0) return false
      await session.run([insertAudit(this.#schema, audit)])
      return true
    })
  }

  async release(): Promise<void> {
    await this.#one(queries.releaseLease(this.#schema, this.#ref))
  }

  async #one(statement: Statement): Promise<StatementResult> {
    const [result] = await this.#database.use((session) => session.run([statement]))
    return result!
  }

  #transaction<T>(work: (session: Session, tx: Transaction) => Promise<T>): Promise<T> {
    return this.#database.transaction(async (tx, session) => {
      await session.run([readCommitted, standstill(this.#ref.leaseMs)])
      return work(session, tx)
    })
  }
}

/** A busy process may be so long between two statements without being frozen. */
const leastStandstillMs = 500

/** Ends the transaction. Seen by nobody. */
class Fenced extends Error {}

// With one snapshot for the whole transaction every renewal of the lease would be a conflict.
const readCommitted: Statement = { text: 'set transaction isolation level read committed' }

/** A process that is frozen in a transaction would keep its locks, and its successor waiting. */
function standstill(leaseMs: number): Statement {
  return {
    text: `select set_config('idle_in_transaction_session_timeout', $1, true)`,
    params: [String(Math.max(leastStandstillMs, leaseMs))],
  }
}

function isUuid(text: string): boolean {
  return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)
}
