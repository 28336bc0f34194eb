/**
 * `npm test [-- arguments of vitest]`: installs what is missing, runs vitest, and prints `N passed, N failed[, N skipped]` as the last line of
 * stdout. Exit code 0 when nothing failed, else 1.
 *
 * A test that needs a system package which is missing is skipped, and the end says so. With `CI=true` the package is installed first.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ensureInstalled, root } from './ensure-installed.mjs'
import { runChild } from './run-child.mjs'
import { setup } from './setup.mjs'
import { stopWithNpm } from './stop-with-npm.mjs'
import { missingSystemPackages } from './system-packages.mjs'
import { summarise } from './test-summary.mjs'

const inCi = ['true', '1'].includes(process.env['CI'] ?? '')

stopWithNpm()
await ensureInstalled()
if (inCi && missingSystemPackages().length > 0) setup()
const missing = missingSystemPackages()
const { report, exitCode } = await runVitest(process.argv.slice(2))
const summary = summarise(report, exitCode)
for (const { apt, neededBy } of missing)
  process.stdout.write(`skipped for want of the system package ${apt}: ${neededBy}; \`npm run setup\` brings it\n`)
process.stdout.write(`${summary.line}\n`)
process.exitCode = summary.exitCode

/** @param {string[]} options */
async function runVitest(options) {
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-test-'))
  const reportFile = join(folder, 'report.json')
  const vitest = join(root, 'node_modules', 'vitest', 'vitest.mjs')
  const reporting = ['--reporter=default', '--reporter=json', `--outputFile.json=${reportFile}`]
  try {
    const exitCode = await runChild(process.execPath, [vitest, 'run', ...reporting, ...options], { cwd: root })
    return { report: readReport(reportFile), exitCode }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** @param {string} file */
function readReport(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    return undefined
  }
}
