"use strict";
// Text of a file reaches the page through textContent only; nothing is fetched.
(() => {
  const PAGE = 25;
  const make = (name, text, attributes = {}) => {
    const element = document.createElement(name);
    if (text !== "") element.textContent = text;
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };

  const shown = (value) => {
    if (value === null) return "";
    if (!Number.isFinite(value)) return value > 0 ? "\u221e" : "\u2212\u221e";
    if (Number.isInteger(value)) return value.toLocaleString("en").replace("-", "\u2212");
    const text = Math.abs(value) < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(3)));
    return text.replace("-", "\u2212");
  };

  const csvCell = (value, column) => {
    if (column.number) return value === null ? "" : Number.isFinite(value) ? String(value) : value > 0 ? "inf" : "-inf";
    // A spreadsheet would run text that begins like a formula.
    const text = /^[=+\-@\t\r]/.test(value) ? "'" + value : value;
    return /[",\n\r]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
  };

  const download = (name, text) => {
    const link = make("a", "", { download: name });
    link.href = URL.createObjectURL(new Blob(["\ufeff", text], { type: "text/csv;charset=utf-8" }));
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };

  const read = (column) => {
    if (!column.number) return column.codes.map((code) => column.levels[code]);
    return column.values.map((value) => (typeof value === "string" ? Number(value) : value));
  };

  const setUp = (box) => {
    const data = JSON.parse(document.getElementById(box.id + "-data").textContent);
    const columns = data.columns.map((column) => ({ ...column, data: read(column) }));
    const all = columns[0].data.map((_, row) => row);
    const state = { search: "", chosen: new Map(), limits: new Map(), sort: -1, down: false, page: 0, rows: all };
    const body = box.querySelector("tbody");
    const count = box.querySelector(".shown");
    const controls = box.querySelector(".controls");
    const texts = columns.filter((column) => !column.number);

    const passes = (row) => {
      for (const [column, value] of state.chosen) if (column.data[row] !== value) return false;
      for (const [column, limit] of state.limits) {
        const value = column.data[row];
        if (value === null) return false;
        if (column.limit === "max" ? value > limit : Math.abs(value) < limit) return false;
      }
      return !state.search || texts.some((column) => column.data[row].toLowerCase().includes(state.search));
    };

    const compare = (column, down) => (a, b) => {
      const [x, y] = [column.data[a], column.data[b]];
      if (x === null || y === null) return (x === null) - (y === null) || a - b;
      const order = column.number ? (x < y ? -1 : x > y ? 1 : 0) : x.localeCompare(y, "en", { numeric: true });
      return (down ? -order : order) || a - b;
    };

    const update = () => {
      state.rows = all.filter(passes);
      if (state.sort >= 0) state.rows.sort(compare(columns[state.sort], state.down));
      state.page = 0;
      draw();
    };

    const cell = (column, row) => {
      const value = column.data[row];
      const td = make("td", column.number ? shown(value) : "", column.number ? { class: "n" } : {});
      if (column.number) {
        if (column.limit === "min" && value) td.classList.add(value > 0 ? "up" : "down");
        return td;
      }
      const card = data.cards && column === columns[0] && document.getElementById(data.cards + value);
      td.append(card ? make("a", value, { href: "#" + encodeURIComponent(data.cards + value) }) : value);
      td.title = value;
      return td;
    };

    const draw = () => {
      const first = state.page * PAGE;
      const rows = state.rows.slice(first, first + PAGE).map((row) => {
        const tr = make("tr", "");
        tr.append(...columns.map((column) => cell(column, row)));
        return tr;
      });
      body.replaceChildren(...rows);
      const n = state.rows.length;
      const range = n ? `rows ${(first + 1).toLocaleString("en")} to ${Math.min(first + PAGE, n).toLocaleString("en")} of ` : "";
      const whole = n < all.length ? ` (${all.length.toLocaleString("en")} in all)` : "";
      count.textContent = `${range}${n.toLocaleString("en")}${range ? "" : " rows"}${whole}`;
      before.disabled = state.page === 0;
      after.disabled = first + PAGE >= n;
    };

    const labelled = (text, control) => {
      const label = make("label", text);
      label.append(control);
      controls.append(label);
    };

    const search = make("input", "", { type: "search", placeholder: "part of a name" });
    search.addEventListener("input", () => { state.search = search.value.trim().toLowerCase(); update(); });
    labelled("Search", search);
    for (const column of columns) {
      if (column.choose && column.levels.length > 1) {
        const select = make("select", "");
        select.append(make("option", "all"), ...column.levels.map((level) => make("option", level)));
        select.addEventListener("change", () => {
          if (select.selectedIndex === 0) state.chosen.delete(column);
          else state.chosen.set(column, column.levels[select.selectedIndex - 1]);
          update();
        });
        labelled(column.label, select);
      }
      if (column.limit) {
        const input = make("input", "", { type: "number", step: "any", min: "0" });
        input.addEventListener("input", () => {
          const limit = input.valueAsNumber;
          if (Number.isNaN(limit)) state.limits.delete(column);
          else state.limits.set(column, limit);
          update();
        });
        labelled(column.limit === "max" ? `${column.label} up to` : `|${column.label}| at least`, input);
      }
    }
    const save = make("button", "Download CSV", { type: "button", title: "The rows that pass the filters, in this order" });
    save.addEventListener("click", () => {
      const head = columns.map((column) => csvCell(column.label, { number: false })).join(",");
      const lines = state.rows.map((row) => columns.map((column) => csvCell(column.data[row], column)).join(","));
      download(data.name.replace(/[^\w .-]+/g, "_") + ".csv", [head, ...lines].join("\r\n") + "\r\n");
    });
    controls.append(save);
    controls.hidden = false;

    box.querySelectorAll("thead th").forEach((th, i) => {
      const button = make("button", th.textContent, { type: "button" });
      th.replaceChildren(button);
      button.addEventListener("click", () => {
        // Numbers that are large in size come first for effects, small ones for all else.
        state.down = state.sort === i ? !state.down : columns[i].limit === "min";
        state.sort = i;
        box.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
        th.setAttribute("aria-sort", state.down ? "descending" : "ascending");
        update();
      });
    });

    const before = make("button", "Previous", { type: "button" });
    const after = make("button", "Next", { type: "button" });
    before.addEventListener("click", () => { state.page -= 1; draw(); });
    after.addEventListener("click", () => { state.page += 1; draw(); });
    const pager = make("div", "", { class: "pager" });
    pager.append(before, after, count);
    box.append(pager);
    update();
  };

  document.querySelectorAll(".table").forEach(setUp);

  for (const button of document.querySelectorAll("button.copy")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const target = document.getElementById(button.dataset.target);
      const range = document.createRange();
      range.selectNodeContents(target);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      let done = false;
      try {
        await navigator.clipboard.writeText(target.innerText);
        done = true;
      } catch {
        done = document.execCommand("copy");
      }
      button.textContent = done ? "Copied" : "Press Ctrl+C";
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
  }

  const theme = document.getElementById("theme");
  const dark = () => {
    const set = document.documentElement.dataset.theme;
    return set ? set === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  };
  const name = () => { theme.textContent = dark() ? "Light" : "Dark"; };
  theme.addEventListener("click", () => {
    document.documentElement.dataset.theme = dark() ? "light" : "dark";
    name();
  });
  theme.hidden = false;
  name();
})();
