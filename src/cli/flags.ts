import type { FlagSpec } from './command.ts'

/** Flags that every command takes. */
export const globalFlags: Readonly<Record<string, FlagSpec>> = {
  help: { type: 'boolean', short: 'h', help: 'Show this help' },
  version: { type: 'boolean', short: 'V', help: 'Show the version' },
  json: { type: 'boolean', help: 'Print one JSON document instead of text' },
  quiet: { type: 'boolean', short: 'q', help: 'No messages on stderr but errors' },
}

/** Flags of commands that work on a service's database. */
export const databaseFlags: Readonly<Record<string, FlagSpec>> = {
  url: { type: 'string', value: 'URL', help: 'Connection string of the database (default: DATABASE_URL)' },
  schema: { type: 'string', value: 'NAME', help: "Schema of Tidemark's tables (default: tidemark)" },
}

/** Flags of commands that cannot be undone. */
export const dangerFlags: Readonly<Record<string, FlagSpec>> = {
  yes: { type: 'boolean', short: 'y', help: 'Do it' },
  'dry-run': { type: 'boolean', help: 'Only show what would be done' },
}
