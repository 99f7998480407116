// Draw every diagram, and draw it again when the reader changes between light and dark.
(() => {
  // The same as in book.css: boxes are measured in one place and drawn in another, and a text must fit its box.
  const fontFamily = 'system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif';
  const blocks = [...document.querySelectorAll("pre.mermaid")];
  const sources = blocks.map((block) => block.textContent);
  const colours = {
    light: { primaryColor: "#e3f1f7", primaryTextColor: "#17202a", primaryBorderColor: "#27687f", lineColor: "#444444",
             edgeLabelBackground: "#ffffff", tertiaryColor: "#f6f6f6" },
    dark: { darkMode: true, background: "#14181e", primaryColor: "#1f3a4d", primaryTextColor: "#f2f2f2",
            primaryBorderColor: "#7cc4e0", lineColor: "#c8c8c8", edgeLabelBackground: "#14181e", tertiaryColor: "#222832" },
  };

  const draw = async (theme) => {
    mermaid.initialize({ startOnLoad: false, securityLevel: "strict", deterministicIds: true, theme: "base",
                         themeVariables: { fontFamily, ...colours[theme] } });
    blocks.forEach((block, i) => { block.removeAttribute("data-processed"); block.textContent = sources[i]; });
    await mermaid.run({ nodes: blocks });
    for (const svg of document.querySelectorAll("pre.mermaid > svg")) {
      // On a phone a diagram shrinks a little, then scrolls inside its frame, so that it stays legible.
      const natural = parseFloat(svg.style.maxWidth) || 0;
      svg.style.minWidth = `${Math.min(0.7 * natural, 640)}px`;  // 640: what the column of text holds on a desktop
      svg.setAttribute("aria-hidden", "true");  // the frame around it carries the text alternative
    }
    document.documentElement.dataset.mermaid = theme;
  };

  let drawn, queue = Promise.resolve();
  const follow = () => {
    const theme = document.documentElement.dataset.theme === "dark" ? "dark" : "light";
    if (theme !== drawn) { drawn = theme; queue = queue.then(() => draw(theme)); }
  };
  new MutationObserver(follow).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  follow();
})();
