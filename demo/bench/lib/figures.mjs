export const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

const digits = (value) => (value >= 100 ? 0 : value >= 10 ? 1 : value >= 1 ? 2 : 3);
const show = (value, unit) => `${value.toFixed(unit === "B" ? 0 : digits(value))} ${unit}`;

/** What was measured, with the platform's floor beside it and the figure to reach. */
export class Figures {
  #rows = [];

  /** `goal` is { ratio }, { atMost } or { atLeast }; `rounds` has one value per round. */
  add(name, unit, rounds, { floor, goal } = {}) {
    const value = median(rounds);
    const row = { name, unit, value, rounds };
    if (floor) {
      row.floor = { name: floor.name, value: median(floor.rounds) };
      // Of each round, so that what slows one round slows both sides of its ratio.
      row.ratio = median(rounds.map((taken, round) => taken / floor.rounds[round]));
    }
    if (goal) {
      row.goal = goal;
      row.ok =
        "ratio" in goal
          ? row.ratio <= goal.ratio
          : "atMost" in goal
            ? value <= goal.atMost
            : value >= goal.atLeast;
    }
    this.#rows.push(row);
  }

  get json() {
    return this.#rows;
  }

  table() {
    const lines = this.#rows.map(({ name, unit, value, floor, ratio, goal, ok }) => {
      const wanted = !goal
        ? ""
        : "ratio" in goal
          ? `≤ ${goal.ratio} x`
          : "atMost" in goal
            ? `≤ ${goal.atMost} ${unit}`
            : `≥ ${goal.atLeast} ${unit}`;
      return [
        name,
        show(value, unit),
        floor ? `${show(floor.value, unit)} (${floor.name})` : "",
        ratio === undefined ? "" : `${ratio.toFixed(2)} x`,
        wanted,
        ok === undefined ? "" : ok ? "ok" : "MISS",
      ];
    });
    const all = [["what", "median", "the platform's floor", "ratio", "to reach", ""], ...lines];
    const widths = all[0].map((_, column) => Math.max(...all.map((line) => line[column].length)));
    return all
      .map((line) =>
        line
          .map((cell, column) => cell.padEnd(widths[column]))
          .join("  ")
          .trimEnd(),
      )
      .join("\n");
  }
}
