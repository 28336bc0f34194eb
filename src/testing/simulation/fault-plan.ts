import type { Chance } from './chance.ts'

/**
 * What one schedule is like. Every seed gets its own mixture, some of it often and some not at all: bugs hide where one kind of trouble covers
 * up another (Groce et al., "Swarm Testing", 2012).
 */
export interface FaultPlan {
  /** Probabilities per call of a port. */
  readonly lostRequest: number
  readonly lostReply: number
  /** The caller hears of an error, and the call is carried out afterwards. */
  readonly late: number
  readonly crash: number
  readonly freeze: number
  /** Of a step of a transaction in the server: it stands still for seconds. */
  readonly standstill: number
  /** Of a call to take long. */
  readonly slow: number
  /** Per message. */
  readonly poison: number
  readonly flaky: number
  readonly unreadable: number
  readonly refused: number
  /** Its handler asks for another time, now and then. */
  readonly later: number
  /** Its handler does not return, now and then. */
  readonly hanging: number
  /** Its handler ends the process. Nothing else does so then, that it may be told who did. */
  readonly deadly: number
  /** Of a transaction of a writer. */
  readonly rollBack: number
  readonly longTransaction: number
  /** The broker refuses superseded senders. */
  readonly fencesAppends: boolean
  /** The broker leaves out pages it has. */
  readonly skipsRepeats: boolean
  /** How often a process leaves in order, per second. */
  readonly restarts: number
  /** How often lanes are counted anew, per second. */
  readonly laneChanges: number
  /** Of a handler to wait for something. */
  readonly slowHandlers: number
  /** How often what handlers need is away for a while, per second. */
  readonly outages: number
  /** Of an outage to be of what one handler needs, and no other. */
  readonly partialOutages: number
  /** How often the schemas that a process does not know yet cannot be had for a while, per second. */
  readonly schemaOutages: number
  /** How often operators redrive dead letters, per second; and of a letter to be discarded in its place. */
  readonly redrives: number
  readonly discards: number
  /** How often operators hold a key, or release one, per second. Not in the mixtures: it is for plans. */
  readonly holds: number
  /** At the end everything is mended and redriven, so that all of it must be handled. */
  readonly mendsAll: boolean
  /** How much there is of everything. */
  readonly processes: number
  readonly transactions: number
  readonly strangers: number
  /** Transactions of a process in which parked keys are tried: the fewer there are, the more keys share one. */
  readonly retriers: number
}

/** A mixture for this seed. `second`, `third`: of what came in later, so that it leaves the rest of the mixture as it was. */
export function faultPlan(chance: Chance, second: Chance, third: Chance): FaultPlan {
  const oftenBy =
    (of: Chance) =>
    (...rates: readonly number[]): number =>
      of.isSo(0.5) ? of.pick(rates) : 0
  const often = oftenBy(chance)
  const fencesAppends = chance.isSo(0.6)
  const plan: FaultPlan = {
    lostRequest: often(0.01, 0.05),
    lostReply: often(0.01, 0.05, 0.1),
    late: often(0.01, 0.05),
    crash: often(0.001, 0.005, 0.01),
    freeze: often(0.001, 0.005),
    standstill: often(0.005, 0.02),
    slow: often(0.02, 0.1),
    poison: often(0.02, 0.1),
    flaky: often(0.05, 0.2),
    unreadable: often(0.02, 0.05),
    // A sender that wakes up may bring a refused record to a broker that takes it by now. Released, it comes again with another coordinate: so only
    // where such a sender is fenced (docs/design/simulation.md).
    refused: fencesAppends ? often(0.02, 0.05) : 0,
    later: often(0.02, 0.1),
    hanging: often(0.01, 0.03),
    deadly: 0,
    rollBack: often(0.05, 0.2),
    longTransaction: often(0.1, 0.3),
    fencesAppends,
    skipsRepeats: fencesAppends && chance.isSo(0.7),
    restarts: often(0.2, 0.5),
    laneChanges: often(0.3, 1),
    slowHandlers: often(0.1, 0.5),
    outages: often(0.1, 0.4),
    partialOutages: oftenBy(second)(0.5, 1),
    schemaOutages: oftenBy(second)(0.2, 0.6),
    redrives: often(0.5, 2),
    discards: often(0.1, 0.3),
    holds: 0,
    mendsAll: chance.isSo(0.3),
    processes: chance.whole(2, 3),
    transactions: chance.whole(5, 25),
    strangers: chance.whole(0, 6),
    retriers: third.pick([1, 1, 2, 4]),
  }
  return chance.isSo(0.15) ? { ...plan, ...nobodyElseEndsProcesses, deadly: chance.pick([0.02, 0.05]) } : plan
}

/** Whoever is taken for dead, or repeats what it did, cannot be told from one whose process ended. */
export const nobodyElseEndsProcesses = {
  crash: 0,
  freeze: 0,
  lostRequest: 0,
  lostReply: 0,
  late: 0,
  standstill: 0,
  slow: 0,
  hanging: 0,
  restarts: 0,
}
