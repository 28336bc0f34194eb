import { spawn } from 'node:child_process'
import { constants } from 'node:os'

/**
 * Runs a program, passes our signals on to it, and resolves to the exit code a shell would report.
 *
 * @param {string} command
 * @param {readonly string[]} options
 * @param {import('node:child_process').SpawnOptions} [settings]
 * @returns {Promise<number>}
 */
export async function runChild(command, options, settings = {}) {
  const child = spawn(command, [...options], { stdio: 'inherit', ...settings })
  // The terminal sends Ctrl-C to the whole group; npm and `kill` reach only us. A second SIGINT would make some children stop without cleaning up.
  const forward = (/** @type {NodeJS.Signals} */ signal) => {
    if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal)
  }
  const signals = /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])
  for (const signal of signals) process.on(signal, forward)
  try {
    return await new Promise((resolve, reject) => {
      child.once('error', reject)
      child.once('close', (code, signal) => resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])))
    })
  } finally {
    for (const signal of signals) process.off(signal, forward)
  }
}
