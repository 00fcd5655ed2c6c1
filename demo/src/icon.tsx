const paths = {
  grip: "M6 4h.01M10 4h.01M6 8h.01M10 8h.01M6 12h.01M10 12h.01",
  left: "M10 3.5 5.5 8l4.5 4.5",
  right: "M6 3.5 10.5 8 6 12.5",
  up: "M3.5 10 8 5.5l4.5 4.5",
  down: "M3.5 6 8 10.5 12.5 6",
  rename: "M3.5 12.5v-2l7-7 2 2-7 7z",
  remove: "M4 4l8 8M12 4l-8 8",
  add: "M8 3.5v9M3.5 8h9",
  tab: "M6 3.5H3.5v9h9V10M9 3.5h3.5V7M12.5 3.5 7.5 8.5",
};

/** A line drawing of 16 × 16, for the eye only. */
export function Icon({ name }: { name: keyof typeof paths }) {
  return (
    <svg className="icon" viewBox="0 0 16 16" aria-hidden="true">
      <path d={paths[name]} />
    </svg>
  );
}
