import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

/** A process that cannot be mistaken for a later one with the same number: its pid and when it started. */
export interface ProcessIdentity {
  readonly pid: number
  /** Opaque; changes with a reboot too. Empty where the platform does not tell, then the pid alone decides. */
  readonly startedAt: string
}

/** The process that has this pid now, or `null`. A zombie counts as gone: it holds nothing any more. */
export function processWithPid(pid: number): ProcessIdentity | null {
  if (!Number.isSafeInteger(pid) || pid <= 0 || !pidExists(pid)) return null
  const startedAt = process.platform === 'linux' ? startOnLinux(pid) : process.platform === 'win32' ? '' : startFromPs(pid)
  return startedAt === null ? null : { pid, startedAt }
}

/** This process. */
export function thisProcess(): ProcessIdentity {
  return processWithPid(process.pid) ?? { pid: process.pid, startedAt: '' }
}

/** Does this very process still run, and not another one that was given its pid? */
export function isAlive(identity: ProcessIdentity): boolean {
  const now = processWithPid(identity.pid)
  if (now === null) return false
  return now.startedAt === '' || identity.startedAt === '' || now.startedAt === identity.startedAt
}

/** Reads an identity from a stored file; `null` if it is cut short or something else. */
export function parseIdentity(text: string): ProcessIdentity | null {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value !== 'object' || value === null || !('pid' in value) || !('startedAt' in value)) return null
    const { pid, startedAt } = value
    return typeof pid === 'number' && typeof startedAt === 'string' ? { pid, startedAt } : null
  } catch {
    return null
  }
}

/** Also true for a zombie, and for a process of another user. */
export function pidExists(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

function startOnLinux(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The name stands in parentheses and may hold anything. After it come the state and, as the 20th field, the start in ticks since boot.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    if (fields[0] === 'Z' || fields[0] === 'X') return null
    return `${bootId()}:${fields[19] ?? ''}`
  } catch {
    // Gone in between, or hidden from us (hidepid): then its pid must do.
    return pidExists(pid) ? '' : null
  }
}

function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()
  } catch {
    return ''
  }
}

function startFromPs(pid: number): string | null {
  try {
    const output = execFileSync('ps', ['-o', 'stat=', '-o', 'lstart=', '-p', String(pid)], {
      encoding: 'utf8',
      env: { ...process.env, LC_ALL: 'C', TZ: 'UTC' },
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim()
    const [state = '', ...start] = output.split(/\s+/)
    return state === '' || state.startsWith('Z') ? null : start.join(' ')
  } catch {
    return pidExists(pid) ? '' : null
  }
}
