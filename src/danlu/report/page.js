// What the report does when it is pointed at, scrolled, sorted and printed; without it everything can still be read.
(() => {
  "use strict";
  const page = document.documentElement;

  // The name of a whole chart moves to aria-label, so that only its parts answer when they are pointed at.
  for (const chart of document.querySelectorAll("svg[role=img]")) {
    const own = [...chart.children].filter((child) => child.tagName === "title" || child.tagName === "desc");
    const text = own.map((child) => child.textContent).filter(Boolean).join(". ");
    if (text) chart.setAttribute("aria-label", text);
    own.forEach((child) => child.remove());
  }

  // A box at the pointer in place of the browser's slow one.
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  document.body.append(tip);
  for (const title of document.querySelectorAll("svg title")) {
    title.parentNode.dataset.tip = title.textContent;
    title.remove();
  }
  document.addEventListener("pointermove", (event) => {
    const target = event.target.closest ? event.target.closest("[data-tip]") : null;
    tip.hidden = !target;
    if (!target) return;
    tip.textContent = target.dataset.tip;
    const box = tip.getBoundingClientRect();
    const left = Math.min(event.clientX + 14, page.clientWidth - box.width - 6);
    const below = event.clientY + 16 + box.height < window.innerHeight;
    tip.style.left = `${Math.max(left, 6)}px`;
    tip.style.top = `${below ? event.clientY + 16 : event.clientY - box.height - 10}px`;
  });
  document.addEventListener("pointerleave", () => { tip.hidden = true; });

  // The navigation shows which part is being read.
  const links = new Map([...document.querySelectorAll("nav .links a")].map((a) => [a.hash.slice(1), a]));
  const parts = [...links.keys()].map((id) => document.getElementById(id)).filter(Boolean);
  const mark = () => {
    const above = parts.filter((part) => part.getBoundingClientRect().top < window.innerHeight * 0.3);
    const atEnd = window.innerHeight + window.scrollY >= page.scrollHeight - 4 && window.scrollY > 0;
    const here = atEnd ? parts[parts.length - 1] : above[above.length - 1] || parts[0];
    for (const [id, link] of links) {
      const isHere = Boolean(here) && id === here.id;
      if (isHere && !link.classList.contains("here")) {
        link.parentNode.scrollLeft = link.offsetLeft - link.parentNode.clientWidth / 3;
      }
      link.classList.toggle("here", isHere);
      if (isHere) link.setAttribute("aria-current", "true"); else link.removeAttribute("aria-current");
    }
  };
  document.addEventListener("scroll", mark, { passive: true });
  mark();

  // A click on a heading sorts its table; numbers by value, texts as texts, what is missing last.
  const keyOf = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.sort ?? (cell.classList.contains("number") ? "" : cell.textContent.trim());
  };
  const compare = (a, b, way) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    const x = Number(a), y = Number(b);
    return way * (Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y);
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((heading, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => {
        const way = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
        [...table.tHead.rows[0].cells].forEach((cell) => cell.removeAttribute("aria-sort"));
        heading.setAttribute("aria-sort", way === 1 ? "ascending" : "descending");
        const body = table.tBodies[0];
        const rows = [...body.rows].sort((a, b) => compare(keyOf(a, column), keyOf(b, column), way));
        body.append(...rows);
      });
    });
  }

  // Paper cannot be clicked: folded parts are opened for printing, and closed again.
  let opened = [];
  window.addEventListener("beforeprint", () => {
    const closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach((part) => { part.open = true; });
    opened.push(...closed);
  });
  window.addEventListener("afterprint", () => {
    opened.forEach((part) => { part.open = false; });
    opened = [];
  });

  page.dataset.ready = "yes";
})();
