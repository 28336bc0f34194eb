/**
 * Names of the places between two steps where a crash is tried. A test enumerates them: each must be reached and survived.
 * Whoever adds a step adds its name here.
 */
export const crashPoints = [
  'publish:before-append',
  'publish:after-append',
  'relay:after-take-over',
  'relay:after-broker-read',
  'relay:after-probe',
  'relay:before-tick',
  'relay:mid-tick',
  'relay:after-tick',
  'relay:after-page',
  'relay:mid-park',
  'relay:after-park',
  'relay:mid-send',
  'relay:after-send',
  'relay:mid-checkpoint',
  'relay:after-checkpoint',
  'kafka:after-fence',
  'kafka:after-claim',
  'kafka:after-enlist',
  'kafka:after-produce',
  'kafka:before-commit',
  'kafka:after-commit',
  'consumer:before-take-over',
  'consumer:after-take-over',
  'consumer:after-handlers',
  'consumer:after-compare-and-set',
  'consumer:after-appends',
  'consumer:after-commit',
  'consumer:before-advance',
  'consumer:at-lane-barrier',
  'consumer:after-lanes-replaced',
  'redrive:after-holds',
  'redrive:after-key',
  'redrive:after-commit',
] as const

/** One of the names above. */
export type CrashPoint = (typeof crashPoints)[number]
