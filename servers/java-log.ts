import { join } from 'node:path'
import { repositoryRoot } from './repository-root.ts'

/** Makes Kafka's programs log this much and more important things, to standard error. */
export function logFlags(level: 'info' | 'warn' | 'error'): readonly string[] {
  return [`-Dlog4j2.configurationFile=${join(repositoryRoot, 'servers', 'log4j2.properties')}`, `-Dtidemark.log.level=${level}`]
}
