import type { Server } from './server.ts'

let made = 0

/** Runs `use` with connection strings of empty databases, and drops them afterwards, whatever came of it. */
export async function withDatabases<Name extends string, T>(
  server: Server,
  names: readonly Name[],
  use: (databases: Readonly<Record<Name, string>>) => Promise<T>,
): Promise<T> {
  made += 1
  const databases: Partial<Record<Name, string>> = {}
  try {
    for (const name of names) databases[name] = await server.createDatabase(`bench_${made}_${name}`)
    return await use(databases as Readonly<Record<Name, string>>)
  } finally {
    for (const name of names) await server.dropDatabase(`bench_${made}_${name}`)
  }
}
