import { join } from 'node:path'
import { type Home, homeAt as embeddedHomeAt } from '../../src/drivers/postgres/embedded/home.ts'

/** Where everything about one kept broker lies. Lock and leases are those of the embedded Postgres server, in another directory. */
export interface KeptHome extends Home {
  /** Which data directory is in use. */
  readonly dataNote: string
  /** The broker's process and ports. */
  readonly broker: string
  /** The broker's settings. */
  readonly properties: string
}

export function homeAt(directory: string): KeptHome {
  const home = embeddedHomeAt(directory)
  return {
    ...home,
    dataNote: join(home.directory, 'data.json'),
    broker: join(home.directory, 'broker.json'),
    properties: join(home.directory, 'server.properties'),
  }
}
