import { join } from 'node:path'
import { executable } from '../scripts/system-packages.mjs'

/** Where a Java runtime and Maven are found. `environment` is `process.env` unless a test says otherwise. */
export function findJava(environment: NodeJS.ProcessEnv = process.env): string {
  return found('java', 'Java 17 or newer', environment)
}

/** Java's tool for keys and certificates, a part of every runtime. */
export function findKeytool(environment: NodeJS.ProcessEnv = process.env): string {
  return found('keytool', "Java's keytool", environment)
}

/** Maven's command. */
export function findMaven(environment: NodeJS.ProcessEnv = process.env): string {
  return found('mvn', 'Maven', environment)
}

function found(name: string, what: string, environment: NodeJS.ProcessEnv): string {
  const path = executable(name, environment)
  if (path !== undefined) return path
  throw new Error(
    `${what} is needed to run a Kafka broker, but there is no ${name} on the PATH${name === 'java' ? ', in JAVA_HOME' : ''} or in the usual places. ` +
      'Run `npm run setup`, install it by your own means, or set KAFKA_BROKERS to the addresses of a broker that runs already.',
  )
}

/** The class path of all jars in a folder, as Java writes it. */
export function classPath(folder: string): string {
  return join(folder, '*')
}
