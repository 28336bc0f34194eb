import type { Service } from 'tidemark'

export const policyTable = `
  create table if not exists policy (
    name text primary key,
    value bigint not null
  );`

/**
 * Remembers a number in the service's own database, the first one for good. Returns the one that counts: orders decided by different rules
 * in one shop would be nobody's totals.
 */
export async function rememberPolicy(service: Service, name: string, value: number): Promise<number> {
  return service.transaction(async (tx) => {
    await tx.query('insert into policy (name, value) values ($1, $2) on conflict do nothing', [name, value])
    const [row] = await tx.query<{ value: string }>('select value from policy where name = $1', [name])
    return Number(row!.value)
  })
}
