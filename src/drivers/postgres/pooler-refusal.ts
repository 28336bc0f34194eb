import { TidemarkError } from '../../errors.ts'

/** What PgBouncer says when it is asked for what it cannot do, and what helps. */
const refusals: readonly (readonly [said: RegExp, remedy: string])[] = [
  [/unsupported startup parameter/, "Take the setting out of the connection, name it in the pooler's ignore_startup_parameters"],
  [/statement pooling mode/, 'Set pool_mode = transaction for this database'],
]

/** The error for what a pooler between us and the server refused for good; `null` for any other. */
export function poolerRefusal(cause: unknown): TidemarkError | null {
  if (!(cause instanceof Error)) return null
  const known = refusals.find(([said]) => said.test(cause.message))
  if (known === undefined) return null
  return new TidemarkError('CONFIG_INVALID', `The pooler in front of Postgres refuses the connection: ${cause.message}.`, {
    cause,
    remedy: `${known[1]}, or connect to the server directly.`,
  })
}
