// The series of the service, summed for plots. A row: [begin of a slice, provider, status, error code, scale, count].
const ENDED = ["ready", "failed", "cancelled", "expired"];

// 3 hours in slices of 10 minutes, a day in slices of half an hour.
export function intervals(series, hours) {
  const seconds = series.slice_seconds * (hours > 6 ? 3 : 1);
  const end = Math.floor(Date.parse(series.now) / 1000 / seconds + 1) * seconds;
  const size = Math.ceil((hours * 3600) / seconds);
  const times = Array.from({ length: size }, (_, at) => (end - (size - at) * seconds) * 1000);
  return { times, seconds, at: (time) => Math.floor((Date.parse(time) - times[0]) / 1000 / seconds) };
}

const zeros = (size) => new Array(size).fill(0);

export function summed(series, hours) {
  const { times, at } = intervals(series, hours);
  const size = times.length;
  const outcomes = Object.fromEntries(ENDED.map((each) => [each, zeros(size)]));
  const providers = new Map();
  const codes = new Map();
  const scales = Array.from({ length: size }, () => new Map());
  const queued = zeros(size);
  for (const [since, provider, status, code, scale, count] of series.reached) {
    const index = at(since);
    if (index < 0 || index >= size) continue;
    if (status === "queued") queued[index] += count;
    if (ENDED.includes(status)) outcomes[status][index] += count;
    if (status === "ready" || status === "failed") {
      if (!providers.has(provider)) providers.set(provider, { failed: zeros(size), all: zeros(size) });
      const sums = providers.get(provider);
      sums.all[index] += count;
      if (status === "failed") {
        sums.failed[index] += count;
        const key = `${provider} ${code ?? "?"}`;
        codes.set(key, (codes.get(key) ?? 0) + count);
      }
    }
    if (scale !== null) scales[index].set(scale, (scales[index].get(scale) ?? 0) + count);
  }
  const byName = [...providers].sort(([one], [other]) => one.localeCompare(other));
  return { times, outcomes, queued, providers: byName, codes: [...codes].sort((one, other) => other[1] - one[1]), scales };
}

export const sum = (values) => values.reduce((all, each) => all + each, 0);

// The seconds below which this part of the attempts is, of a map from scale to count; null without one.
export function percentile(scales, part) {
  const sorted = [...scales].sort(([one], [other]) => one - other);
  const all = sum(sorted.map(([, count]) => count));
  let below = 0;
  for (const [scale, count] of sorted) {
    below += count;
    if (below >= part * all) return 2 ** (scale / 4);
  }
  return null;
}

export function merged(scales) {
  const all = new Map();
  for (const each of scales) for (const [scale, count] of each) all.set(scale, (all.get(scale) ?? 0) + count);
  return all;
}
