import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** Makes Java programs log this much, and to standard error, so that what a tool prints stays clean. Returns the flag for their virtual machine. */
export async function logToStandardError(directory: string, level: 'info' | 'warn' | 'error'): Promise<string> {
  const file = join(directory, `log4j2-${level}.properties`)
  await writeFile(file, settings(level))
  return `-Dlog4j2.configurationFile=${file}`
}

function settings(level: string): string {
  return [
    'status=off',
    'appender.out.type=Console',
    'appender.out.name=out',
    'appender.out.target=SYSTEM_ERR',
    'appender.out.layout.type=PatternLayout',
    'appender.out.layout.pattern=[%d] %p %m (%c)%n',
    `rootLogger.level=${level}`,
    'rootLogger.appenderRef.out.ref=out',
    '',
  ].join('\n')
}
