import pg from 'pg'

/** A connected client, whose connection may break without ending the process. */
export async function clientOf(connection: pg.ClientConfig): Promise<pg.Client> {
  const client = new pg.Client(connection)
  client.on('error', () => undefined)
  await client.connect()
  return client
}
