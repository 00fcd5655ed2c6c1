/** Once a page: a browser may show the question to its user. */
let asked = false;

/** Whether the browser promised not to clear this origin's storage by itself. */
export class Persistence {
  readonly #mayAsk: boolean;
  readonly #tell: (persisted: boolean) => void;
  #persisted: boolean | undefined;

  constructor(mayAsk: boolean, tell: (persisted: boolean) => void) {
    this.#mayAsk = mayAsk;
    this.#tell = tell;
  }

  /** Tells what is known, and finds it out if nothing is. */
  tell(): void {
    if (this.#persisted === undefined) this.#take(navigator.storage.persisted?.());
    else this.#tell(this.#persisted);
  }

  /** Something of this page is on the device: worth asking for, if a person has done something here. */
  kept(): void {
    if (!this.#mayAsk || asked || this.#persisted !== false || !navigator.userActivation?.hasBeenActive)
      return;
    asked = true;
    this.#take(navigator.storage.persist?.());
  }

  #take(answer: Promise<boolean> | undefined): void {
    answer?.then(
      (persisted) => {
        this.#persisted = persisted;
        this.#tell(persisted);
      },
      // Then nobody knows.
      () => undefined,
    );
  }
}
