import { TidemarkError } from '../errors.ts'
import { isPromiseLike } from './eventual.ts'
import type { Eventual } from './eventual.ts'
import type { InferOutput, SchemaIssue, SchemaResult, StandardSchemaV1 } from './standard-schema.ts'

/** Enough to find the mistake; a wrong array of thousands would make the error unreadable. */
const maxPaths = 20

/** Facts about the data that may be said: never the data itself. */
export interface Validated {
  readonly what: string
  readonly details: Readonly<Record<string, unknown>>
}

/**
 * Validates data; synchronous unless the schema is not. `EVENT_INVALID` lists where the data is wrong. It never says what stands there, nor
 * what the schema says about it, because schemas quote the data in their messages.
 */
export function validate<Schema extends StandardSchemaV1>(
  schema: Schema,
  data: unknown,
  subject: Validated,
): Eventual<InferOutput<Schema>> {
  let result: Eventual<SchemaResult<unknown>>
  try {
    result = schema['~standard'].validate(data)
  } catch (cause) {
    throw schemaThrew(subject, cause)
  }
  if (!isPromiseLike(result)) return accept<Schema>(result, subject)
  return Promise.resolve(result).then(
    (settled) => accept<Schema>(settled, subject),
    (cause: unknown) => {
      throw schemaThrew(subject, cause)
    },
  )
}

function accept<Schema extends StandardSchemaV1>(result: SchemaResult<unknown>, subject: Validated): InferOutput<Schema> {
  if (result.issues === undefined) return result.value as InferOutput<Schema>
  const paths = [...new Set(result.issues.map(pathOf))]
  const more = paths.length > maxPaths ? ` and ${paths.length - maxPaths} more` : ''
  throw new TidemarkError(
    'EVENT_INVALID',
    `${subject.what} does not satisfy its schema at: ${paths.slice(0, maxPaths).join(', ')}${more}.`,
    {
      details: { ...subject.details, paths },
    },
  )
}

function schemaThrew(subject: Validated, cause: unknown): TidemarkError {
  return new TidemarkError('EVENT_INVALID', `${subject.what} could not be checked: its schema threw.`, { cause, details: subject.details })
}

/** `items[0].price`; the root is `(root)`. */
function pathOf(issue: SchemaIssue): string {
  let path = ''
  for (const segment of issue.path ?? []) {
    const key = typeof segment === 'object' ? segment.key : segment
    if (typeof key === 'number') path += `[${key}]`
    else path += path === '' ? String(key) : `.${String(key)}`
  }
  return path === '' ? '(root)' : path
}
