/**
 * Names of the places between two steps where a crash is tried. A test enumerates them: each must be reached and survived.
 * Whoever adds a step adds its name here.
 */
export const crashPoints = [
  'publish:before-append',
  'publish:after-append',
  'publish:after-commit',
  'relay:after-take-over',
  'relay:after-broker-read',
  'relay:after-probe',
  'relay:before-tick',
  'relay:after-tick',
  'relay:after-page',
  'relay:after-park',
  'relay:mid-send',
  'relay:after-send',
  'relay:after-checkpoint',
] as const

/** One of the names above. */
export type CrashPoint = (typeof crashPoints)[number]
