// Run in a page that has finished: everything that a reader would see broken, as a list of sentences.
() => {
  const found = [];
  const say = (what, elements) => { for (const e of elements) found.push(`${what}: ${(e.outerHTML || String(e)).slice(0, 160)}`); };
  const all = (selector) => [...document.querySelectorAll(selector)];

  const formulas = all(".math");
  say("formula not typeset", formulas.filter((m) => m.querySelectorAll("mjx-container").length !== 1));
  say("formula with an error", all("mjx-merror, [data-mjx-error]"));
  if (all("mjx-container").length !== formulas.length) found.push("more typeset formulas than formulas");

  say("diagram not drawn", all("pre.mermaid").filter((d) => !d.querySelector("svg") || d.querySelector("svg").getBoundingClientRect().height < 20));
  say("diagram with an error", all("pre.mermaid").filter((d) => /Syntax error/.test(d.textContent)));
  say("diagram with a text that does not fit its box", all("pre.mermaid foreignObject").filter((box) => box.firstElementChild
    && box.firstElementChild.getBoundingClientRect().width > box.getBoundingClientRect().width + 1));
  say("diagram without a text alternative", all("pre.mermaid").filter((d) => !d.getAttribute("aria-label")));

  say("player without sound", all("audio, video").filter((p) => !(Number.isFinite(p.duration) && p.duration > 0)));

  say("picture without alt text", all("img").filter((i) => !i.alt.trim() && i.getAttribute("aria-hidden") !== "true"));
  say("picture without alt text", all("main svg").filter((s) => !s.closest("[aria-label], [aria-hidden=true], button, a, mjx-container")
    && !s.querySelector("title")));
  say("picture that did not load", all("img").filter((i) => i.complete && i.naturalWidth === 0));

  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth) {
    const wide = all("main *").filter((e) => e.getBoundingClientRect().right > root.clientWidth + 1);
    found.push(`the page is ${root.scrollWidth} wide in a window of ${root.clientWidth}`);
    say("reaches beyond the window", wide.slice(0, 3));
  }
  return found;
}
