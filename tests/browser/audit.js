// Ask axe: which rules does the page break? `faults`: of the theme itself, a rule and what may break it.
// Rules about colours take axe longest by far, so of visible texts that are alike in all that colours them
// it is shown one; all other rules are asked of the whole page, where `structure` is true.
async ([faults, structure]) => {
  const colours = ["color-contrast", "link-in-text-block"];
  const numbers = new Map(), known = new Map();
  const kind = (e) => {
    if (e && !known.has(e)) {
      const s = getComputedStyle(e);
      const same = [s.color, s.backgroundColor, s.opacity, s.fontSize, s.fontWeight, e.getAttribute("class")];
      const key = [kind(e.parentElement), e.tagName, ...same].join();
      known.set(e, numbers.get(key) ?? numbers.size + 1);
      numbers.set(key, known.get(e));
    }
    return known.get(e);
  };
  const text = (e) => [...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.data.trim());
  const seen = new Set();
  const first = (e) => text(e) && e.checkVisibility() && !seen.has(kind(e)) && seen.add(kind(e));
  const texts = [...document.body.querySelectorAll("*")].filter(first);

  const ask = async (where, rules) => (await axe.run(where, { resultTypes: ["violations"], ...rules })).violations;
  const preload = location.protocol !== "file:"; // of style sheets, which may not be read again from disk
  const found = await ask({ include: texts }, { runOnly: { type: "rule", values: colours } });
  if (structure) found.push(...await ask(document, { preload, rules: Object.fromEntries(colours.map((rule) => [rule, { enabled: false }])) }));

  const excused = (rule, node) => faults[rule.id] && document.querySelector(node.target[0])?.closest(faults[rule.id]);
  return found.flatMap((rule) => rule.nodes.filter((node) => !excused(rule, node))
    .map((node) => `axe ${rule.id}: ${node.target.join(" ")}: ${node.html.slice(0, 120)}`));
}
