/**
 * Runs once around the whole suite, in vitest's own process: what all test files share is started here and released by the returned function.
 *
 * @module
 */
export default function globalSetup(): void {}
