import { expect, test } from 'vitest'
import { bar, renderChart, terminalStyle } from './chart.ts'
import type { Result } from './result.ts'

const result = (system: string, median: number): Result => ({
  system,
  version: '1.0.0',
  metric: 'throughput',
  unit: 'messages/s',
  median,
  min: median,
  max: median,
  runs: 1,
})

test('the largest median has the longest bar and the others are in proportion', () => {
  const chart = renderChart([result('slow', 1_000), result('fast', 4_000)], { width: 8, unicode: false })
  expect(chart).toBe(['throughput (messages/s)', '  slow  ## 1,000', '  fast  ######## 4,000'].join('\n'))
})

test('Unicode bars are exact to an eighth of a column', () => {
  expect(bar(2.5, true)).toBe('██▌')
  expect(bar(3, true)).toBe('███')
})

test('a small value still shows a bar, and zero shows none', () => {
  expect(bar(0.01, true)).toBe('▏')
  expect(bar(0.01, false)).toBe('#')
  expect(bar(0, true)).toBe('')
})

test('block elements are used only where the locale is UTF-8', () => {
  expect(terminalStyle({ LANG: 'C.UTF-8' }, 80)).toEqual({ width: 35, unicode: true })
  if (process.platform !== 'darwin') expect(terminalStyle({ LANG: 'C' }, 80).unicode).toBe(false)
})
