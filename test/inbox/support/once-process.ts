/**
 * Makes a call to the outside once, in a process of its own, to be killed: `once-process.ts <database> <url of the other side> <onUnknown>`. Prints the
 * response, or the code of the error.
 *
 * @module
 */
import { TidemarkError } from '../../../src/errors.ts'
import { PostgresDatabase, PostgresLedgerStore } from '../../../src/drivers/postgres/index.ts'
import { ledger, once } from '../../../src/inbox/index.ts'

const [connectionString, url, onUnknown] = process.argv.slice(2) as [string, string, 'call again' | 'fail']
const database = new PostgresDatabase({ connectionString, maxConnections: 2 })
const billing = ledger({ store: new PostgresLedgerStore({ database }), scope: 'billing' })

async function charge({ key, signal }: { key: string; signal: AbortSignal }): Promise<unknown> {
  const response = await fetch(url, { method: 'POST', headers: { 'idempotency-key': key }, signal })
  return response.json()
}

try {
  const message = { source: 'https://shop', id: 'o-1' }
  console.log(JSON.stringify(await once(billing, message, 'charge', charge, { onUnknown, leaseMs: 300 })))
} catch (error) {
  console.log(TidemarkError.is(error) ? error.code : String(error))
}
await database.close()
