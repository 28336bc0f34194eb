import type { Actor, Asked } from '../operation/index.ts'
import type { CommandContext, FlagSpec } from './command.ts'

/** Flags of commands that are kept with a name. */
export const actorFlags: Readonly<Record<string, FlagSpec>> = {
  actor: { type: 'string', value: 'NAME', help: 'Who does it (default: the user running this)' },
  roles: { type: 'string', value: 'ROLE,…', help: 'With which roles; kept with it (default: TIDEMARK_ROLES, or none)' },
  reason: { type: 'string', value: 'TEXT', help: 'Why; kept with it' },
}

/** Who runs this, as it was said. What may be done is decided by the rights of the database's role. */
export function actorOf({ flags, io }: CommandContext): Actor {
  const { actor = io.user, roles = io.env.TIDEMARK_ROLES ?? '' } = flags
  const named = String(roles)
    .split(',')
    .map((role) => role.trim())
    .filter((role) => role !== '')
  return { id: String(actor), roles: [...new Set(named)] }
}

/** Who runs this, and why. */
export function askedBy(context: CommandContext): Asked {
  const { reason } = context.flags
  return { actor: actorOf(context), ...(typeof reason === 'string' ? { reason } : {}) }
}
