import { kafkaTool } from '../../../servers/tools.ts'

/** The table that `kafka-consumer-groups --describe` prints, by the names of its columns. */
export async function describeGroup(brokers: readonly string[], group: string): Promise<readonly Readonly<Record<string, string>>[]> {
  const { stdout } = await kafkaTool('kafka-consumer-groups', ['--bootstrap-server', brokers.join(), '--describe', '--group', group])
  const [head, ...rows] = stdout.split('\n').filter((line) => line.trim() !== '' && !line.includes('has no active members'))
  const names = cells(head ?? '')
  return rows.map((row) => Object.fromEntries(cells(row).map((cell, i) => [names[i]!, cell])))
}

function cells(line: string): string[] {
  return line.trim().split(/\s+/)
}
