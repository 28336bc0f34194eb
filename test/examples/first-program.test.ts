import { cp, chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { spawn } from 'node:child_process'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { embedded } from '../../src/drivers/postgres/embedded/index.ts'
import { root } from '../../scripts/ensure-installed.mjs'
import { build } from '../../scripts/verify/build.mjs'
import { pack } from '../../scripts/verify/pack.mjs'

/** What a reader of the README does: installs what it names in an empty folder, copies its first program, and runs it. */

const readme = await readFile(join(root, 'README.md'), 'utf8')
const installLine = /^npm install (.*)$/m.exec(readme)?.[1]?.split(' ') ?? []
const program = /^```ts\n([^]*?)^```$/m.exec(readme)?.[1] ?? ''

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tidemark-reader-'))
  // Under root the server runs as another user and must be able to pass through.
  await chmod(folder, 0o755)
})
afterAll(async () => {
  // Only a failed program leaves its server behind.
  const server = embedded({ directory: join(folder, 'reader', '.tidemark', 'postgres') })
  await server.stop({ mode: 'immediate' })
  await server.remove()
  await rm(folder, { recursive: true, force: true, maxRetries: 5 })
})

test('the first program of the README runs on what its install line names, and on nothing else', async ({ signal }) => {
  expect(installLine).toContain('tidemark')
  const tarball = await packed(join(folder, 'package'))
  const reader = join(folder, 'reader')
  await mkdir(reader)
  const packages = await Promise.all(installLine.map((name) => source(name, tarball)))
  const installed = await run('npm', ['install', ...packages, ...quickly], reader, signal)
  expect(installed.code, installed.output).toBe(0)
  await writeFile(join(reader, 'main.mjs'), program)
  const { code, output } = await run(process.execPath, ['main.mjs'], reader, signal)
  expect(code, output).toBe(0)
  expect(output).toBe(await readFile(join(root, 'examples/00-first-program/expected.txt'), 'utf8'))
})

const quickly = ['--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error']

/** The version of the lock file, because npm has it in its cache. */
async function source(name: string, tarball: string): Promise<string> {
  if (name === 'tidemark') return tarball
  const manifest = JSON.parse(await readFile(join(root, 'node_modules', name, 'package.json'), 'utf8')) as { version: string }
  return `${name}@${manifest.version}`
}

/** Built and packed in a folder of its own, because somebody may be building in the repository. */
async function packed(stage: string): Promise<string> {
  for (const name of ['package.json', 'README.md', 'LICENSE', 'CHANGELOG.md', 'bin', 'src']) {
    await cp(join(root, name), join(stage, name), { recursive: true })
  }
  expect(build(root, join(stage, 'dist'))).toBe('')
  const destination = join(folder, 'tarball')
  await mkdir(destination)
  return pack(stage, destination)
}

/** Ends with the test at the latest. */
function run(
  command: string,
  args: readonly string[],
  cwd: string,
  signal: AbortSignal,
): Promise<{ readonly code: number | null; readonly output: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, env: readersEnvironment(), stdio: ['ignore', 'pipe', 'pipe'], signal })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (output += text))
    child.once('error', reject)
    child.once('close', (code) => resolve({ code, output }))
  })
}

/** What a test run under npm adds would lead back to the repository; where npm's packages come from is the machine's own setting. */
function readersEnvironment(): NodeJS.ProcessEnv {
  const foreign =
    /^(npm_(?!config_(registry|cache|userconfig|globalconfig|cafile|proxy|https_proxy|noproxy)$)|NODE_(OPTIONS|PATH|ENV)$|INIT_CWD$|VITEST)/i
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !foreign.test(name)))
}
