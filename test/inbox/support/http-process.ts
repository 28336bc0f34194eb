/**
 * An API with idempotency keys in a process of its own, to be killed: `http-process.ts <database> <afterCrash> <stores with the effect: yes or no>`. Prints its
 * URL, and `placed` when the effect of a request is about to commit, or has committed.
 *
 * @module
 */
import { PostgresDatabase, PostgresLedgerStore } from '../../../src/drivers/postgres/index.ts'
import { idempotent, ledger } from '../../../src/inbox/index.ts'
import { listen } from './listen.ts'

const [connectionString, afterCrash, withEffect] = process.argv.slice(2) as [string, 'conflict' | 'run again', 'yes' | 'no']
const database = new PostgresDatabase({ connectionString, maxConnections: 4 })

const handle = idempotent(
  async (request, { commitWith }) => {
    const id = await request.text()
    const answer = Response.json({ placed: id }, { status: 201 })
    const response = await database.transaction(async (tx) => {
      await tx.query('insert into placed values ($1)', [id])
      return withEffect === 'yes' ? commitWith(tx, answer) : answer
    })
    return response
  },
  {
    ledger: ledger({ store: new PostgresLedgerStore({ database }), scope: 'api' }),
    caller: () => 'one',
    afterCrash,
    leaseMs: 300,
  },
)
console.log((await listen(handle)).url)
// An end of the input says that whoever started it is gone.
process.stdin.on('end', () => process.exit(0)).resume()
