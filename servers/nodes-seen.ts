const patienceMs = 2_000

/** The nodes of the cluster, as a broker sees them. Rejects where nobody answers in two seconds. */
export async function nodesSeenBy(host: string, port: number): Promise<readonly number[]> {
  // Loading it takes a process a third of a second, and many that could start a Kafka start none.
  const { Connection, metadataV12 } = await import('@platformatic/kafka')
  const connection = new Connection('tidemark-servers', { connectTimeout: patienceMs, requestTimeout: patienceMs })
  // A broker that still starts may break connections; the request says so.
  connection.on('error', () => undefined)
  try {
    await connection.connect(host, port)
    const { brokers } = await metadataV12.api.async(connection, [], false, false)
    return brokers.map(({ nodeId }) => nodeId)
  } finally {
    await connection.close().catch(() => undefined)
  }
}
