import { TidemarkError } from '../../../errors.ts'

/** The schema of Tidemark's tables unless another is named. */
export const defaultSchema = 'tidemark'

/**
 * A schema's name as it stands in SQL, quoted. Takes lower-case letters, digits and `_`, at most 40 characters, so that quoting changes
 * nothing and names made from it stay below Postgres' 63 bytes. Throws `CONFIG_INVALID` for anything else.
 */
export function quotedSchema(schema: string): string {
  if (!/^[a-z_][a-z0-9_]{0,39}$/.test(schema) || schema.startsWith('pg_')) {
    throw new TidemarkError('CONFIG_INVALID', `The schema name ${JSON.stringify(schema)} is not one Tidemark takes.`, {
      remedy: 'Use lower-case letters, digits and _, at most 40, not beginning with a digit or pg_.',
    })
  }
  return `"${schema}"`
}
