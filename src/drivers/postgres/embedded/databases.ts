import { escapeIdentifier } from 'pg'
import { connectionTo, maintenanceDatabase, onConnection } from './connection.ts'

/** Where the server is now. */
export interface Address {
  readonly port: number
  readonly password: string
}

/** Makes a database if it is missing. Safe by several processes at once. */
export async function createDatabase({ port, password }: Address, name: string): Promise<void> {
  await onConnection(connectionTo(port, password, maintenanceDatabase), async (client) => {
    const { rowCount } = await client.query('select 1 from pg_database where datname = $1', [name])
    if (rowCount !== 0) return
    try {
      // template0, because a connection to template1 by anybody would refuse the copy.
      await client.query(`create database ${escapeIdentifier(name)} template template0`)
    } catch (error) {
      // 42P04 duplicate_database, or 23505 unique_violation when two create it at the same moment
      if (!['42P04', '23505'].includes((error as { code?: string }).code ?? '')) throw error
    }
  })
}

/** Removes a database with its replication slots, ending all connections to it. Nothing happens where there is none. */
export async function removeDatabase({ port, password }: Address, name: string): Promise<void> {
  await onConnection(connectionTo(port, password, maintenanceDatabase), async (client) => {
    await client.query('select pg_terminate_backend(active_pid, 5000) from pg_replication_slots where database = $1 and active', [name])
    await client.query('select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = $1', [name])
    await client.query(`drop database if exists ${escapeIdentifier(name)} with (force)`)
  })
}
