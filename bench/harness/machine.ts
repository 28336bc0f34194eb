import { arch, cpus, platform, release, totalmem } from 'node:os'

/** What a reader must know of the machine to judge a figure. No names of hosts or users. */
export function describeMachine(postgresVersion: string): Record<string, unknown> {
  return {
    platform: `${platform()} ${arch()}`,
    kernel: release(),
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    node: process.version,
    postgres: postgresVersion,
  }
}
