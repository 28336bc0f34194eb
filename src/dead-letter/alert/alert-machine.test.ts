import { expect, test } from 'vitest'
import type { GroupLetters } from '../port.ts'
import { type AlertKind, type AlertState, alertStep, defaultAlertSettings } from './alert-machine.ts'

const hour = 3_600_000

function letters(count: number, recent: number, oldestMs: number): GroupLetters {
  const example = { id: 1, messageId: null, errorClass: 'Error', type: null, fingerprint: '' }
  return { group: 'g', count, recent, oldest: new Date(oldestMs), newest: new Date(oldestMs), example }
}

/** What is said, look by look. */
function told(looks: readonly (readonly [letters: GroupLetters | null, now: number])[]): readonly (readonly AlertKind[])[] {
  let state: AlertState | null = null
  return looks.map(([found, now]) => {
    const step = alertStep(state, found, now, defaultAlertSettings)
    state = step.state
    return step.say
  })
}

test('the first letter of a group is said once, and that none is left is said once', () => {
  expect(
    told([
      [null, 0],
      [letters(1, 1, 0), 0],
      [letters(2, 1, 0), 10],
      [null, 20],
      [null, 30],
      [letters(1, 1, 40), 40],
    ]),
  ).toEqual([[], ['first'], [], ['resolved'], [], ['first']])
})

test('many deaths in a short time are said, again when they have doubled, and anew after a calm', () => {
  expect(
    told([
      [letters(3, 3, 0), 0],
      [letters(10, 10, 0), 1],
      [letters(19, 19, 0), 2],
      [letters(20, 20, 0), 3],
      [letters(40, 12, 0), 4],
      [letters(41, 4, 0), 5],
      [letters(51, 10, 0), 6],
    ]),
  ).toEqual([['first'], ['growing'], [], ['growing'], [], [], ['growing']])
})

test('the age of the oldest letter is said at each step once; when it has ended, that of the next one', () => {
  expect(
    told([
      [letters(2, 0, 0), hour - 1],
      [letters(2, 0, 0), hour],
      [letters(2, 0, 0), 2 * hour],
      [letters(1, 0, 2 * hour), 2 * hour + 1],
      [letters(1, 0, 2 * hour), 3 * hour],
      [letters(1, 0, 2 * hour), 26 * hour],
      [letters(1, 0, 2 * hour), 27 * hour],
    ]),
  ).toEqual([['first'], ['old'], [], [], ['old'], ['old'], []])
})

test('whoever takes over in the middle says what was not said, and nothing twice', () => {
  const step = alertStep(null, letters(50, 50, 0), 30 * hour, defaultAlertSettings)
  expect(step.say).toEqual(['first', 'growing', 'old'])
  expect(alertStep(JSON.parse(JSON.stringify(step.state)) as AlertState, letters(50, 50, 0), 30 * hour, defaultAlertSettings).say).toEqual(
    [],
  )
})
