#!/usr/bin/env node
/**
 * The command `tidemark`. The package runs the built code; a checkout that was never built runs the sources.
 */
import { existsSync } from 'node:fs'

const built = new URL('../dist/cli/index.js', import.meta.url)
if (!existsSync(built)) {
  const { register } = await import('tsx/esm/api')
  register()
}
const entry = existsSync(built) ? built : new URL('../src/cli/index.ts', import.meta.url)
const { run } = await import(entry.href)
process.exitCode = await run(process.argv.slice(2))
