export type PageLifeHandlers = {
  /** The page will be frozen, cached or gone: what it lends would be stuck with it. */
  sleep: () => void;
  /** The page runs again; `thawed` says that its connections may have been dropped meanwhile. */
  wake: (thawed: boolean) => void;
  visible: (visible: boolean) => void;
  /** There may be a network again. */
  online: () => void;
};

export const isVisible = (): boolean => document.visibilityState === "visible";

/** Tells of the page's freezing, hiding and waking, until the signal is aborted. */
export function watchPage(handlers: PageLifeHandlers, signal: AbortSignal): void {
  const on = (target: EventTarget, type: string, listener: (event: Event) => void) =>
    target.addEventListener(type, listener, { signal });
  on(document, "freeze", () => handlers.sleep());
  on(document, "resume", () => handlers.wake(false));
  on(window, "pagehide", () => handlers.sleep());
  on(window, "pageshow", (event) => {
    if ((event as PageTransitionEvent).persisted) handlers.wake(true);
  });
  on(document, "visibilitychange", () => {
    // A page on screen is awake, whatever events it missed. Going off screen says nothing: it may be closing.
    if (isVisible()) handlers.wake(false);
    handlers.visible(isVisible());
  });
  on(window, "online", () => handlers.online());
}
