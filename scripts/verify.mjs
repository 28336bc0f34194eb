/**
 * `npm run verify [-- STEP ...] [--update]`: all that needs no server, one line per step with its time, the complaints of the failed ones at the
 * end. Steps do not stop each other. Exit code 1 when one failed. Installs what is missing first.
 */
import { ensureInstalled, root } from './ensure-installed.mjs'

await ensureInstalled()
const { steps, width } = await import('./verify/steps.mjs')

const options = process.argv.slice(2)
const update = options.includes('--update')
const wanted = options.filter((option) => !option.startsWith('--'))
const unknown = wanted.filter((name) => !steps.some((step) => step.name === name))
if (unknown.length > 0) {
  process.stderr.write(`No step is called ${unknown.join(' or ')}. Steps: ${steps.map(({ name }) => name).join(', ')}\n`)
  process.exit(2)
}

/** @typedef {import('./verify/steps.mjs').Step} Step */

const chosen = wanted.length === 0 ? steps : steps.filter(({ name }) => wanted.includes(name))
/** @type {Map<string, Promise<string>>} complaints by step */
const outcomes = new Map()
let free = width
/** @type {(() => void)[]} */
const queue = []

for (const step of chosen) outcomes.set(step.name, perform(step))
const complaints = await Promise.all(chosen.map(async ({ name }) => ({ name, text: (await outcomes.get(name)) ?? '' })))
const failed = complaints.filter(({ text }) => text !== '')
for (const { name, text } of failed) process.stdout.write(`\n--- ${name} ---\n${text}\n`)
process.stdout.write(failed.length === 0 ? '\nverify: all passed\n' : `\nverify: failed: ${failed.map(({ name }) => name).join(', ')}\n`)
process.exitCode = failed.length === 0 ? 0 : 1

/** @param {Step} step */
async function perform(step) {
  for (const name of step.after ?? []) {
    if (((await outcomes.get(name)) ?? '') === '') continue
    line('skip', step, 'not run')
    return `not run, because ${name} failed`
  }
  await slot()
  const started = performance.now()
  const text = await Promise.resolve()
    .then(() => step.run(root, { update }))
    .catch((error) => (error instanceof Error ? (error.stack ?? error.message) : String(error)))
    .finally(release)
  line(text === '' ? 'ok' : 'FAIL', step, `${((performance.now() - started) / 1000).toFixed(1)} s`)
  return text
}

/**
 * @param {string} verdict
 * @param {Step} step
 * @param {string} time
 */
function line(verdict, { name, about }, time) {
  process.stdout.write(`${verdict.padEnd(5)}${name.padEnd(11)}${time.padStart(8)}   ${about}\n`)
}

/** @returns {Promise<void> | void} */
function slot() {
  if (free > 0) free -= 1
  else return new Promise((resolve) => queue.push(resolve))
}

function release() {
  const next = queue.shift()
  if (next === undefined) free += 1
  else next()
}
