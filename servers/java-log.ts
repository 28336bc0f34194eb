import { join } from 'node:path'
import { repositoryRoot } from './repository-root.ts'

/** Makes Kafka's programs log this much and more important things, to standard error. */
export function logFlags(level: 'info' | 'warn' | 'error'): readonly string[] {
  const [old, present] = ['log4j.properties', 'log4j2.properties'].map((name) => join(repositoryRoot, 'servers', name))
  return [`-Dlog4j2.configurationFile=${present}`, `-Dlog4j.configuration=file:${old}`, `-Dtidemark.log.level=${level}`]
}
