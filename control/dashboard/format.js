/** Values in words. */

const NUMBERS = new Intl.NumberFormat("en");
const CENTS = new Intl.NumberFormat("en", {minimumFractionDigits: 2, maximumFractionDigits: 2});
const SHORT = new Intl.NumberFormat("en", {notation: "compact"});
const ROUGH = new Intl.NumberFormat("en", {maximumSignificantDigits: 2});

export const number = (value) => (value === null || value === undefined ? "–" : NUMBERS.format(value));
export const rough = (value) => (value === null || value === undefined ? "–" : value >= 100 ? NUMBERS.format(Math.round(value)) : ROUGH.format(value));
export const percent = (value) => `${Math.floor(value)} %`;
export const words = (code) => String(code).replaceAll("_", " ");
export const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 10) return `${Number(seconds.toFixed(1))} s`;
  const whole = Math.round(seconds);
  const [hours, minutes, left] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  if (hours) return minutes ? `${hours} h ${minutes} min` : `${hours} h`;
  return !minutes ? `${left} s` : left ? `${minutes} min ${left} s` : `${minutes} min`;
}

export function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let [value, unit] = [count, 0];
  while (value >= 999.5 && unit < units.length - 1) [value, unit] = [value / 1000, unit + 1];
  return `${value >= 10 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

export function dollars(usd) {
  if (usd === null || usd === undefined) return "unknown";
  if (usd >= 1 || usd === 0) return `$${CENTS.format(usd)}`;
  return usd < 0.0001 ? `$${usd.toFixed(6)}` : `$${usd.toFixed(4)}`;
}

/** Where there is room for few digits. */
export const short = (value) => (value >= 1e6 ? SHORT.format(value) : rough(value));

/** Steps of a scale of time, in seconds. */
const STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 28_800, 86_400];

/** The least such step of which no more than `parts` fit into as many seconds. */
export const timeStep = (seconds, parts) => STEPS_S.find((step) => seconds / step <= parts) ?? 86_400 * Math.ceil(seconds / parts / 86_400);

export const milliseconds = (ms) => (ms === null || ms === undefined ? "–" : `${number(Math.round(ms))} ms`);

/** The least 1, 2, 2.5 or 5 times a power of ten that is not below. */
export function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1e-9)));
  return [1, 2, 2.5, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999999);
}
