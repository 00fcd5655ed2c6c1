/** Milliseconds since 1970 by a clock that never goes back, however the device's is set meanwhile. */
export const now = (): number => Math.floor(performance.timeOrigin + performance.now());
