import type { Row } from '../../../message/transaction.ts'
import type { Statement } from '../statement-run.ts'

/** What a handler may well set for its own statements, and what must not reach ours. */
const names = ['role', 'statement_timeout', 'lock_timeout'] as const

/** Columns with the settings as they are. */
export const settingsRead = names.map((name) => `current_setting('${name}') as ${name}`).join()

/**
 * Settings for the end of a batch, to the end of its transaction: those that `settingsRead` found as they were, and a limit for standing still, which
 * ends a transaction that holds the position's row and whose process is frozen. `found` is `null` when no handler can have changed anything.
 */
export function restored(found: Row | null, standstillMs: number): Statement {
  const all = ['idle_in_transaction_session_timeout', ...(found === null ? [] : names)]
  return {
    text: `select ${all.map((name, i) => `set_config('${name}', $${i + 1}, true)`).join()}`,
    params: [String(standstillMs), ...(found === null ? [] : names.map((name) => String(found[name])))],
  }
}
