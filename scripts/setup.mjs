/**
 * `npm run setup [-- --dry-run]`: installs the packages of system-packages.json with apt-get on a Debian-like system. All it says goes to stderr.
 */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { missingSystemPackages } from './system-packages.mjs'

/** @param {string} line */
const say = (line) => process.stderr.write(`${line}\n`)

/**
 * @param {{ dryRun?: boolean }} [options]
 * @returns {number} an exit code
 */
export function setup({ dryRun = false } = {}) {
  const missing = missingSystemPackages()
  if (missing.length === 0) {
    say('setup: every system package is there; nothing to do.')
    return 0
  }
  for (const { apt, neededBy } of missing) say(`setup: ${apt} is missing; needed by ${neededBy}`)
  const privilege = privilegePrefix()
  if (!isDebianLike()) return refuse('this is not a Debian-like system (no apt-get). Install what is named above by your own means.')
  if (privilege === undefined) return refuse('apt-get needs root, and there is no sudo. Run `npm run setup` as root.')
  for (const command of commands(
    missing.map(({ apt }) => apt),
    privilege,
  )) {
    say(`setup: ${command.join(' ')}${dryRun ? '   (dry run, not done)' : ''}`)
    if (!dryRun && !run(command)) return refuse('apt-get failed; what it says stands above.')
  }
  const still = dryRun ? [] : missingSystemPackages()
  return still.length === 0
    ? 0
    : refuse(`installed, but not found where expected: ${still.map(({ apt, provides }) => `${apt} (${provides.join(', ')})`).join('; ')}`)
}

/**
 * @param {string[]} packages
 * @param {string[]} privilege
 */
function commands(packages, privilege) {
  return [
    [...privilege, 'apt-get', 'update', '-qq'],
    // Tests start servers of their own. RUNLEVEL=1 keeps an installed service from being started in a container; under systemd Debian's ways rule.
    [
      ...privilege,
      'env',
      'RUNLEVEL=1',
      'DEBIAN_FRONTEND=noninteractive',
      'apt-get',
      'install',
      '-y',
      '-qq',
      '--no-install-recommends',
      ...packages,
    ],
  ]
}

function isDebianLike() {
  return process.platform === 'linux' && existsSync('/usr/bin/apt-get')
}

/** What to put before a command that needs root: nothing for root itself, `sudo` where it exists. */
function privilegePrefix() {
  if (process.getuid?.() === 0) return []
  return spawnSync('sudo', ['-n', 'true']).status === 0 || (process.stdin.isTTY && existsSync('/usr/bin/sudo')) ? ['sudo'] : undefined
}

/** @param {string[]} command */
function run([program = '', ...options]) {
  return spawnSync(program, options, { stdio: ['inherit', process.stderr, process.stderr] }).status === 0
}

/** @param {string} reason */
function refuse(reason) {
  say(`setup: ${reason}`)
  return 1
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  process.exitCode = setup({ dryRun: process.argv.includes('--dry-run') })
}
