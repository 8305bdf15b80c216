/** Values in words. */

const NUMBERS = new Intl.NumberFormat("en");
const ROUGH = new Intl.NumberFormat("en", {maximumSignificantDigits: 2});

export const number = (value) => (value === null || value === undefined ? "–" : NUMBERS.format(value));
export const rough = (value) => (value === null || value === undefined ? "–" : value >= 100 ? NUMBERS.format(Math.round(value)) : ROUGH.format(value));
export const percent = (value) => `${Math.floor(value)} %`;
export const words = (code) => String(code).replaceAll("_", " ");
export const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const [hours, minutes, left] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return hours ? `${hours} h ${minutes} min` : minutes ? `${minutes} min ${left} s` : `${left} s`;
}

export function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let [value, unit] = [count, 0];
  while (value >= 1000 && unit < units.length - 1) [value, unit] = [value / 1000, unit + 1];
  return `${value >= 10 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

export function dollars(usd) {
  if (usd === null || usd === undefined) return "unknown";
  if (usd >= 1 || usd === 0) return `$${usd.toFixed(2)}`;
  return usd < 0.0001 ? `$${usd.toFixed(6)}` : `$${usd.toFixed(4)}`;
}

export const milliseconds = (ms) => (ms === null || ms === undefined ? "–" : `${number(Math.round(ms))} ms`);

/** The least 1, 2, 2.5 or 5 times a power of ten that is not below. */
export function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1e-9)));
  return [1, 2, 2.5, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999999);
}
