import type { ServiceOptions } from 'tidemark'
import { postgresBroker } from 'tidemark/postgres'
import type { DatabaseServer } from './database-server.ts'

/** The log through which the services of the shop hear of each other. */
export interface ShopLog {
  /** The broker, and the name of the service's group where that is not the service's own. */
  optionsFor(service: string): Pick<ServiceOptions, 'broker' | 'group'>
  /** How the databases of a shop with this log begin. Two shops on different logs are two shops. */
  readonly databasePrefix: string
  /** The database it lives in, beside those of the services, or `null` where it lives elsewhere. */
  readonly database: string | null
  /** Where it is, for people; `null` where it is in a database. */
  readonly place: string | null
  /** How many messages it has ever taken of the shop's topics. One in a database of the shop comes and goes with the shop, and says 0. */
  messages(): Promise<number>
  /** Deletes the shop's topics, if it does not go with its database. */
  empty(): Promise<void>
  /** Ends its connections, and the hold on a broker of ours. Stop the services first. */
  release(): Promise<void>
}

/** How long the share of a killed process waits for others. Short, because shops get killed here on purpose; a busy machine stays well below it. */
export const sessionTimeoutMs = 4_000

/** A log in a database of its own, so that it can be emptied without touching whatever else lives on the same server. */
export function postgresLog(server: DatabaseServer): ShopLog {
  const databasePrefix = 'shop_'
  const database = `${databasePrefix}log`
  const broker = postgresBroker({ ...server.at(database), sessionTimeoutMs })
  return {
    optionsFor: () => ({ broker }),
    databasePrefix,
    database,
    place: null,
    messages: () => Promise.resolve(0),
    empty: () => Promise.resolve(),
    release: () => broker.close(),
  }
}
