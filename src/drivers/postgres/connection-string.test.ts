import { describe, expect, test } from 'vitest'
import { placeOf, requireConnectionString } from './connection-string.ts'

describe('the place that is named', () => {
  test.each([
    ['postgres://user:secret@db.example:5433/shop', 'db.example:5433/shop'],
    ['postgresql://user:secret@db.example/shop?sslmode=require&application_name=x', 'db.example/shop'],
    ['postgres://db.example/shop?user=me&password=secret', 'db.example/shop'],
    ['postgres://user:se%2Fcr%40et@db.example/shop', 'db.example/shop'],
    ['postgres://user:se@cret@db.example/shop', 'db.example/shop'],
    ['postgres://user:secret@/shop?host=/var/run/postgresql', '/var/run/postgresql/shop'],
    ['postgres://user:secret@[::1]:5432/shop', '[::1]:5432/shop'],
    ['/var/run/postgresql shop', '/var/run/postgresql shop'],
  ])('of %s is %s', (text, place) => {
    requireConnectionString(text)
    expect(placeOf(text)).toBe(place)
  })
})

test.each([
  'host=db.example password=secret dbname=shop',
  'user:secret@db.example/shop',
  'postgres://user:12/secret@db.example/shop',
  'postgres://user:12?secret@db.example/shop',
  'postgres://user:12#secret@db.example/shop',
  'mysql://user:secret@db.example/shop',
  '',
])('%j is refused without being quoted', (text) => {
  const refused = expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.not.stringContaining('secret') as string })
  expect(() => requireConnectionString(text)).toThrow(refused)
  expect(placeOf(text)).toBe('the given connection string')
})
