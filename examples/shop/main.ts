/**
 * The shop as a program: `npm start`, or `npm start -- --help`. stdout carries the result, stderr everything else.
 *
 * @module
 */
import { runShop } from './program/run-shop.ts'

process.exitCode = await runShop(process.argv.slice(2))
