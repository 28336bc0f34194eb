import { TidemarkError } from '../../../errors.ts'

/** Server settings by name, as in postgresql.conf. */
export type ServerSettings = Readonly<Record<string, string | number | boolean>>

/** For a development machine with two cores and a few gigabytes, and durable: a commit survives the loss of power. */
const defaults: ServerSettings = {
  wal_level: 'logical',
  fsync: 'on',
  synchronous_commit: 'on',
  shared_buffers: '192MB',
  max_connections: 200,
  max_prepared_transactions: 20,
  max_replication_slots: 20,
  max_wal_senders: 20,
  max_wal_size: '2GB',
  // A forgotten slot would otherwise keep WAL until the disk is full.
  max_slot_wal_keep_size: '8GB',
  autovacuum: 'on',
  random_page_cost: 1.1,
  // Short statements gain nothing from compilation, and its first use costs some 100 ms.
  jit: 'off',
  timezone: 'UTC',
  log_timezone: 'UTC',
  // The log's end is quoted in errors, so it holds no statements: they may carry payloads and passwords.
  log_min_error_statement: 'panic',
  log_checkpoints: 'off',
  log_line_prefix: '%m [%p] %d ',
  // A backend that waits for a lock notices that its client was killed, instead of holding its own locks on.
  ...(process.platform === 'win32' ? {} : { client_connection_check_interval: '1s' }),
}

/** What the life cycle depends on, and so cannot be chosen. */
const fixed: ServerSettings = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  logging_collector: 'off',
  log_destination: 'stderr',
  password_encryption: 'scram-sha-256',
  external_pid_file: '',
}
const reserved = new Set([...Object.keys(fixed), 'port', 'data_directory', 'config_file', 'hba_file', 'ident_file'])

/** Throws `CONFIG_INVALID` for a setting that Tidemark must choose itself, or a name that cannot be one. */
export function checkSettings(settings: ServerSettings): void {
  for (const name of Object.keys(settings)) {
    if (/^[a-z][a-z0-9_.]*$/.test(name) && !reserved.has(name)) continue
    throw new TidemarkError('CONFIG_INVALID', `The setting ${JSON.stringify(name)} of the embedded Postgres server cannot be chosen.`, {
      details: { name },
      remedy: reserved.has(name) ? 'Tidemark sets it itself; leave it out.' : 'Use a name as in postgresql.conf.',
    })
  }
}

/** Arguments of `postgres`: the defaults, then the given settings over them, then the fixed ones. */
export function settingArguments(settings: ServerSettings, port: number): readonly string[] {
  const all = { ...defaults, ...settings, ...fixed, port }
  return Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${typeof value === 'boolean' ? (value ? 'on' : 'off') : value}`])
}

/** Little of our own environment: the server outlives us and has no business with our secrets or with PG* variables. */
export function serverEnvironment(): NodeJS.ProcessEnv {
  const kept = ['PATH', 'LD_LIBRARY_PATH', 'DYLD_LIBRARY_PATH', 'SystemRoot', 'TEMP', 'TMP'].filter(
    (name) => process.env[name] !== undefined,
  )
  // Messages in English, since some are recognised; and a fixed zone, since initdb would search for the machine's.
  return { ...Object.fromEntries(kept.map((name) => [name, process.env[name]])), LC_ALL: 'C', TZ: 'UTC' }
}
