import { expect, test } from 'vitest'
import type { GroupLetters } from '../port.ts'
import { type AlertKind, type AlertState, alertStep, defaultAlertSettings } from './alert-machine.ts'

const hour = 3_600_000

function letters(count: number, recent: number, oldestMs: number, kinds: readonly string[] = ['a']): GroupLetters {
  const example = { id: 1, messageId: null, errorClass: 'Error', type: null, fingerprint: '' }
  return { group: 'g', count, recent, oldest: new Date(oldestMs), newest: new Date(oldestMs), kinds, example }
}

/** What is said, look by look. */
function told(looks: readonly (readonly [letters: GroupLetters | null, now: number])[]): readonly (readonly AlertKind[])[] {
  let state: AlertState | null = null
  return looks.map(([found, now]) => {
    const step = alertStep(state, found, now, defaultAlertSettings)
    state = step.state
    return step.say.map(({ kind }) => kind)
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
      [letters(30, 12, 0), 4],
      [letters(31, 4, 0), 5],
      [letters(39, 10, 0), 6],
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
  expect(step.say.map(({ kind }) => kind)).toEqual(['first', 'growing', 'old'])
  expect(alertStep(JSON.parse(JSON.stringify(step.state)) as AlertState, letters(50, 50, 0), 30 * hour, defaultAlertSettings).say).toEqual(
    [],
  )
})

test('the first letter of another kind is said, though others of the group were said before; the same kind is not said again', () => {
  expect(
    told([
      [letters(1, 1, 0, ['a']), 0],
      [letters(2, 1, 0, ['a']), 1],
      [letters(3, 1, 0, ['a', 'b']), 2],
      [letters(4, 1, 0, ['a', 'b']), 3],
      [letters(5, 1, 0, ['a', 'c', 'd']), 4],
      // b was ended, and comes again.
      [letters(5, 1, 0, ['a', 'b', 'c', 'd']), 5],
    ]),
  ).toEqual([['first'], [], ['kind'], [], ['kind'], ['kind']])
})

test('of more kinds than can be told apart none is said, and none is forgotten', () => {
  expect(
    told([
      [letters(1, 1, 0, ['a', 'b']), 0],
      [letters(9, 1, 0, []), 1],
      [letters(3, 1, 0, ['a', 'b']), 2],
      [letters(3, 1, 0, ['a', 'b', 'c']), 3],
    ]),
  ).toEqual([['first'], [], [], ['kind']])
})

test('letters that pile up slowly are said at each doubling, however long that takes', () => {
  const minute = 60_000
  const said: string[] = []
  let state: AlertState | null = null
  // One a minute for ten hours: never ten in five minutes.
  for (let n = 1; n <= 600; n++) {
    const step = alertStep(state, letters(n, Math.min(n, 5), 0), n * minute, { ...defaultAlertSettings, agesMs: [] })
    state = step.state
    for (const { kind } of step.say) said.push(`${kind} ${n}`)
  }
  expect(said).toEqual(['first 1', 'more 10', 'more 20', 'more 40', 'more 80', 'more 160', 'more 320'])
})

test('after a drain the next pile is said again', () => {
  expect(
    told([
      [letters(100, 0, 0), 0],
      [letters(8, 0, 0), 1],
      [letters(16, 0, 0), 2],
      [letters(31, 0, 0), 3],
      [letters(32, 0, 0), 4],
    ]),
  ).toEqual([['first'], [], ['more'], [], ['more']])
})

test('an old letter is said again, week after week', () => {
  const week = 168 * hour
  expect(
    told([
      [letters(1, 0, 0), week],
      [letters(1, 0, 0), 2 * week - 1],
      [letters(1, 0, 0), 2 * week],
      [letters(1, 0, 0), 3 * week - 1],
      [letters(1, 0, 0), 3 * week],
    ]),
  ).toEqual([['first', 'old'], [], ['old'], [], ['old']])
})

test('each notice has the state after it: what was said before one that fails is not said again', () => {
  const step = alertStep(null, letters(50, 50, 0), 30 * hour, defaultAlertSettings)
  for (const [i, { state }] of step.say.entries()) {
    const rest = alertStep(state, letters(50, 50, 0), 30 * hour, defaultAlertSettings)
    expect(rest.say.map(({ kind }) => kind)).toEqual(['first', 'growing', 'old'].slice(i + 1))
  }
})
