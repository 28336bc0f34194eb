import type { Statement } from './statement-run.ts'

/** The level the relay's statements are made for, whatever the database's default. */
export const begin: Statement = { text: 'begin isolation level read committed' }
export const commit: Statement = { text: 'commit' }
export const rollback: Statement = { text: 'rollback' }
