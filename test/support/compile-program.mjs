/**
 * `compile-program.mjs PROGRAM FOLDER`: bundles a TypeScript program and what it imports of this repository into FOLDER, and says where. Loading some two
 * hundred modules through a loader takes a process more than a second of the processor; tests start hundreds of processes.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build } from 'esbuild'

const [program = '', folder = ''] = process.argv.slice(2)

/**
 * Packages are loaded as they are, and every module still sees its own place.
 *
 * @type {import('esbuild').Plugin}
 */
const asSources = {
  name: 'as sources',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^[^./]/ }, ({ path, kind }) =>
      kind === 'entry-point' || path === 'tidemark' || path.startsWith('tidemark/') ? undefined : { path, external: true },
    )
    onLoad({ filter: /\.ts$/ }, async ({ path }) => {
      const source = await readFile(path, 'utf8')
      return { contents: source.replaceAll('import.meta.url', JSON.stringify(pathToFileURL(path).href)), loader: 'ts' }
    })
  },
}

const { outputFiles, metafile } = await build({
  entryPoints: [program],
  outfile: join(folder, 'program.mjs'),
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'esm',
  conditions: ['tidemark-source'],
  plugins: [asSources],
  sourcemap: 'inline',
  keepNames: true,
  metafile: true,
  write: false,
  logLevel: 'error',
})
const { contents } = /** @type {import('esbuild').OutputFile} */ (outputFiles[0])
const name = `${basename(program, '.ts')}-${createHash('sha256').update(contents).digest('hex').slice(0, 16)}.mjs`
await mkdir(folder, { recursive: true })
// Several test processes may do this at once, and start what another one has written.
const draft = join(folder, `${name}.${process.pid}`)
await writeFile(draft, contents)
await rename(draft, join(folder, name))
process.stdout.write(JSON.stringify({ file: join(folder, name), sources: Object.keys(metafile.inputs) }))
