import { TidemarkError } from '../../../errors.ts'

/** A broker of the cluster. Those given as bootstrap addresses have no id yet: -1. */
export interface Node {
  readonly id: number
  readonly host: string
  readonly port: number
}

/** Reads `host:port` (`[::1]:9092` for an IPv6 address). Throws `CONFIG_INVALID`. */
export function bootstrapNode(address: string): Node {
  const [, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:\s]+)):(\d{1,5})$/.exec(address) ?? []
  const host = bracketed ?? plain
  if (host === undefined || Number(port) < 1 || Number(port) > 65_535) {
    throw new TidemarkError('CONFIG_INVALID', `A Kafka broker has to be given as host:port, got ${JSON.stringify(address)}.`, {
      remedy: "For example brokers: ['kafka-1:9092', 'kafka-2:9092'].",
    })
  }
  return { id: -1, host, port: Number(port) }
}

/** As people write it. */
export function placeOf({ host, port }: Node): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}
