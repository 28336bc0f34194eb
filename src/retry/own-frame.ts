import { fileURLToPath } from 'node:url'

/** Where this library's code is, whether as sources or built. */
const library = fileURLToPath(new URL('..', import.meta.url))

/**
 * The first line of a stack that belongs neither to Node, nor to a package, nor to this library: `handle (src/billing.ts:12:7)`, with the path from the
 * working directory on. `null`: there is none.
 */
export function ownFrame(stack: string | undefined): string | null {
  if (stack === undefined) return null
  for (const line of stack.split('\n')) {
    const frame = /^\s+at (.+)$/.exec(line)?.[1]
    if (frame === undefined || isForeign(frame)) continue
    return shortened(frame)
  }
  return null
}

function isForeign(frame: string): boolean {
  const path = frame.replace('file://', '')
  return !path.includes('/') || path.includes('node:') || path.includes('/node_modules/') || path.includes(library)
}

function shortened(frame: string): string {
  const text = frame
    .replace('file://', '')
    .replace(`${process.cwd()}/`, '')
    .replace(/^async /, '')
  return text.length <= 300 ? text : `…${text.slice(-300)}`
}
