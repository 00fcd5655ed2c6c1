/** Words that requests bring, each with a space behind it; of a request that is cut short, those that came whole. */
export class Reports {
  words = [];

  /** Takes a request's body, and calls back when it is whole. */
  take(request, whole) {
    let rest = "";
    request.setEncoding("utf8").on("data", (text) => {
      const words = (rest + text).split(" ");
      rest = words.pop();
      this.words.push(...words);
    });
    request.on("end", whole);
  }
}
