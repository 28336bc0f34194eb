import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { findKeytool } from './java.ts'
import type { Settings } from './kafka-settings.ts'

const run = promisify(execFile)

/** The listeners of a cluster for its clients. Every cluster has the first. */
export type ClientListener = 'PLAINTEXT' | 'SASL_PLAINTEXT' | 'SSL' | 'SASL_SSL' | 'PROXIED'

/** Passwords by name. */
export type Users = Readonly<Record<string, string>>

const modules = 'org.apache.kafka.common.security'

/** Which listeners there are beside the plain one. */
export function secureListeners(sasl: boolean, tls: boolean): readonly ClientListener[] {
  return [
    ...(sasl ? (['SASL_PLAINTEXT'] as const) : []),
    ...(tls ? (['SSL'] as const) : []),
    ...(sasl && tls ? (['SASL_SSL'] as const) : []),
  ]
}

/** Every user may come by PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; whoever shows an unsigned token, by OAUTHBEARER. */
export function saslSettings(listeners: readonly ClientListener[], users: Users): Settings {
  const passwords = Object.entries(users).map(([name, password]) => `user_${name}="${quoted(password)}"`)
  const logins = {
    plain: `${modules}.plain.PlainLoginModule required ${passwords.join(' ')};`,
    'scram-sha-256': `${modules}.scram.ScramLoginModule required;`,
    'scram-sha-512': `${modules}.scram.ScramLoginModule required;`,
    // Without a validator of its own, Kafka takes tokens with no signature.
    oauthbearer: `${modules}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";`,
  }
  const settings = listeners
    .filter((listener) => listener.startsWith('SASL'))
    .flatMap((listener) =>
      Object.entries(logins).map(([mechanism, login]) => [`listener.name.${listener.toLowerCase()}.${mechanism}.sasl.jaas.config`, login]),
    )
  return { 'sasl.enabled.mechanisms': 'PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER', ...Object.fromEntries(settings) }
}

/** For Kafka's storage tool, which writes the users down before the first start. */
export function scramArguments(users: Users): readonly string[] {
  return Object.entries(users).flatMap(([name, password]) =>
    ['SCRAM-SHA-256', 'SCRAM-SHA-512'].flatMap((mechanism) => ['--add-scram', `${mechanism}=[name="${name}",password="${password}"]`]),
  )
}

/** Makes a key and a certificate for 127.0.0.1 and localhost, which is its own authority: `ca` is what clients must trust. */
export async function makeCertificate(directory: string, environment?: NodeJS.ProcessEnv): Promise<{ settings: Settings; ca: string }> {
  const keytool = findKeytool(environment)
  const keyStore = join(directory, 'broker.p12')
  const certificate = join(directory, 'ca.pem')
  const password = 'only-for-tests'
  const store = ['-alias', 'broker', '-keystore', keyStore, '-storepass', password, '-storetype', 'PKCS12']
  const names = ['-dname', 'CN=127.0.0.1', '-ext', 'SAN=ip:127.0.0.1,dns:localhost']
  await run(keytool, ['-genkeypair', ...store, '-keyalg', 'RSA', '-keysize', '2048', '-validity', '3650', ...names])
  await run(keytool, ['-exportcert', '-rfc', ...store, '-file', certificate])
  const settings = { 'ssl.keystore.location': keyStore, 'ssl.keystore.type': 'PKCS12', 'ssl.keystore.password': password }
  return { settings, ca: await readFile(certificate, 'utf8') }
}

/** A token that the brokers' OAUTHBEARER accepts: a JWT without a signature. */
export function unsecuredToken(subject: string, lifetimeSeconds = 3_600): string {
  const issued = Math.floor(Date.now() / 1_000)
  const parts = [{ alg: 'none' }, { sub: subject, iat: issued, exp: issued + lifetimeSeconds }]
  return `${parts.map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')}.`
}

function quoted(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')
}
