/**
 * `npm start`: installs what is missing, then becomes the shop. The shop runs in this very process, so that signals, exit codes and
 * `kill -9` mean what they say. stdout belongs to the shop alone.
 *
 * package.json starts it by `exec`: the shell that npm puts between would swallow a SIGINT sent to npm, and outlive npm's death.
 * Node gets `--conditions=tidemark-source` from package.json: the example imports 'tidemark' and needs no build.
 */
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { ensureInstalled, root } from './ensure-installed.mjs'
import { stopWithNpm } from './stop-with-npm.mjs'

const program = join(root, 'examples', 'shop', 'main.ts')

await ensureInstalled()
stopWithNpm()
process.argv[1] = program
const { register } = await import('tsx/esm/api')
register()
await import(pathToFileURL(program).href)
