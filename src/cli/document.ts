/** Of the JSON documents. Rises when a field changes its meaning or goes; new fields do not count. */
const schemaVersion = 1

export type Json = Readonly<Record<string, unknown>>

/** The one document of a command. */
export function documentOf(json: Json): string {
  return `${JSON.stringify({ schemaVersion, ...json }, null, 2)}\n`
}

/** One of the documents of a command that prints several, each on a line of its own. */
export function lineOf(json: Json): string {
  return `${JSON.stringify({ schemaVersion, ...json })}\n`
}
