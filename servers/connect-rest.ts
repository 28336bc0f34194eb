/** Settings of a connector, as in Debezium's documentation. */
export type ConnectorConfig = Readonly<Record<string, string>>

/** How a connector or a task is. */
export interface RunState {
  readonly state: 'UNASSIGNED' | 'RUNNING' | 'PAUSED' | 'STOPPED' | 'FAILED' | 'RESTARTING' | 'DESTROYED'
  /** Of a failure. */
  readonly trace?: string
}

export interface ConnectorStatus {
  readonly name: string
  readonly connector: RunState
  readonly tasks: readonly (RunState & { readonly id: number })[]
}

/** While a worker starts or a connector settles it may accept a request and not answer it. */
const patienceMs = 30_000

/** Connect's REST interface, as far as we use it. */
export class ConnectRest {
  readonly #url: string

  constructor(url: string) {
    this.#url = url
  }

  async answers(): Promise<boolean> {
    return this.#ask('GET', '/connectors').then(
      ({ ok }) => ok,
      () => false,
    )
  }

  async put(name: string, config: ConnectorConfig): Promise<void> {
    const reply = await this.#ask('PUT', `/connectors/${encodeURIComponent(name)}/config`, config)
    if (!reply.ok) throw new Error(`Kafka Connect refused the connector ${name} (${reply.status}): ${reply.text}`)
  }

  async remove(name: string): Promise<void> {
    const reply = await this.#ask('DELETE', `/connectors/${encodeURIComponent(name)}`)
    if (!reply.ok) throw new Error(`Kafka Connect did not remove the connector ${name} (${reply.status}): ${reply.text}`)
  }

  async status(name: string): Promise<ConnectorStatus | null> {
    const reply = await this.#ask('GET', `/connectors/${encodeURIComponent(name)}/status`)
    return reply.ok ? (JSON.parse(reply.text) as ConnectorStatus) : null
  }

  async #ask(
    method: string,
    path: string,
    body?: object,
  ): Promise<{ readonly ok: boolean; readonly status: number; readonly text: string }> {
    const reply = await fetch(this.#url + path, {
      method,
      signal: AbortSignal.timeout(patienceMs),
      ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
    })
    return { ok: reply.ok, status: reply.status, text: await reply.text() }
  }
}
