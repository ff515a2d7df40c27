"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const maps = read("maps");
  const decode = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const palette = decode(read("palette"));
  const detail = document.getElementById("detail");
  const unitRows = [...document.querySelectorAll("#table-units tbody tr")];

  /* Draw signed bytes (rows from the top): -127 OFF blue, 0 white, 127 ON red, -128 not measured. */
  const draw = (canvas, values, width, height) => {
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d");
    const image = context.createImageData(width, height);
    values.forEach((value, index) => {
      const color = value === -128 ? [190, 190, 190] : palette.subarray(3 * (value + 127), 3 * (value + 127) + 3);
      image.data.set([color[0], color[1], color[2], 255], 4 * index);
    });
    context.putImageData(image, 0, 0);
  };

  /* Row numbers run over all populations; a population's maps are numbered from 0. */
  const place = (row) => {
    let first = 0;
    for (let index = 0; index < maps.length; index += 1) {
      if (row < first + maps[index].count) return [index, row - first];
      first += maps[index].count;
    }
    return null;
  };

  let shown = null;
  const show = (row) => {
    if (row === shown || !place(row)) return;
    shown = row;
    const [population, unit] = place(row);
    const pack = maps[population];
    const stored = pack.units[unit];
    detail.querySelector("[data-role=maps]").hidden = !stored;
    detail.querySelector("[data-role=without]").hidden = Boolean(stored);
    detail.querySelector("[data-role=simulated]").hidden = !pack.simulated;
    if (stored) {
      const [data, fit] = stored.map((text) => new Int8Array(decode(text).buffer));
      const residual = data.map((value, index) => value === -128 ? -128 : Math.max(-127, Math.min(127, value - fit[index])));
      [["data", data], ["fit", fit], ["residual", residual]].forEach(([name, values]) => {
        draw(detail.querySelector(`canvas[data-map=${name}]`), values, pack.width, pack.height);
      });
      detail.querySelector("[data-role=size]").textContent = pack.pixel;
    }
    const list = detail.querySelector("dl");
    list.replaceChildren();
    const source = unitRows[row];
    const heads = [...document.querySelectorAll("#table-units thead th")];
    let title = `row ${row + 1}`;
    if (source) {
      const cells = [...source.cells];
      const value = (name) => cells[heads.findIndex((head) => head.dataset.name === name)]?.textContent ?? "";
      title = `${value("population")} · ${value("unit")}`;
      heads.forEach((head, index) => {
        const name = head.dataset.name;
        if (/^(kind|subject|nx|ny|orientation|r2|polarity_phase|status|frequency .*)$/.test(name) && cells[index].textContent) {
          const term = document.createElement("dt");
          const words = document.createElement("dd");
          term.textContent = head.textContent.trim();
          term.title = head.title;
          words.textContent = cells[index].textContent;
          list.append(term, words);
        }
      });
      document.querySelectorAll("tr.picked").forEach((other) => other.classList.remove("picked"));
      source.classList.add("picked");
    }
    detail.querySelector("h3").textContent = title;
    detail.dataset.row = String(row);
  };

  /* Tables: sort by a column, keep rows that meet every word or condition, download what is shown. */
  document.querySelectorAll("[data-table]").forEach((section) => {
    const table = section.querySelector("table");
    const body = table.tBodies[0];
    const heads = [...table.tHead.rows[0].cells];
    const rows = [...body.rows];
    const number = (cell) => cell.dataset.value === undefined || cell.dataset.value === "" ? NaN : Number(cell.dataset.value);
    const count = section.querySelector("[data-role=count]");
    heads.forEach((head, index) => {
      head.querySelector("button").addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const numeric = head.classList.contains("number");
        const sorted = [...body.rows].sort((a, b) => {
          if (!numeric) return (up ? 1 : -1) * a.cells[index].textContent.localeCompare(b.cells[index].textContent);
          const [first, second] = [number(a.cells[index]), number(b.cells[index])];
          if (Number.isNaN(first) || Number.isNaN(second)) return Number.isNaN(first) - Number.isNaN(second);
          return up ? first - second : second - first;
        });
        body.append(...sorted);
      });
    });
    const condition = (word) => /^(.+?)(<=|>=|<|>|=)(-?[\d.]+(?:e-?\d+)?)$/.exec(word);
    const column = (name) => heads.findIndex((head) => head.dataset.name.toLowerCase().split(" ")[0] === name);
    const meets = (row, word) => {
      const match = condition(word);
      if (!match) return row.textContent.toLowerCase().includes(word);
      const index = column(match[1]);
      if (index < 0) return false;
      const [value, limit] = [number(row.cells[index]), Number(match[3])];
      return { "<": value < limit, ">": value > limit, "<=": value <= limit, ">=": value >= limit, "=": value === limit }[match[2]];
    };
    section.querySelector("input").addEventListener("input", (event) => {
      const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
      let kept = 0;
      rows.forEach((row) => {
        row.hidden = !words.every((word) => meets(row, word));
        kept += row.hidden ? 0 : 1;
      });
      const unknown = words.map(condition).filter((found) => found && column(found[1]) < 0).map((found) => found[1]);
      const missing = unknown.length ? `; this table has no column “${unknown.join("”, “")}”` : "";
      count.textContent = `${kept} of ${rows.length} rows${missing}`;
    });
    section.querySelector("[data-role=columns]")?.addEventListener("click", (event) => {
      const short = table.classList.toggle("short");
      event.target.setAttribute("aria-pressed", String(!short));
      event.target.textContent = short ? `Show all ${heads.length} columns` : "Show fewer columns";
    });
    section.querySelector("[data-role=download]").addEventListener("click", () => {
      /* Text that a spreadsheet would run as a formula is kept text. */
      const safe = (text) => (/^[=+\-@\t\r]/.test(text) ? `'${text}` : text);
      const quote = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
      const field = (cell) => cell.dataset.value !== undefined ? cell.dataset.value : quote(safe(cell.textContent));
      const lines = [heads.map((head) => quote(safe(head.dataset.name))).join(",")];
      [...body.rows].filter((row) => !row.hidden).forEach((row) => lines.push([...row.cells].map(field).join(",")));
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/csv" }));
      link.download = `${section.dataset.table}.csv`;
      link.click();
      URL.revokeObjectURL(link.href);
    });
  });

  unitRows.forEach((row, index) => row.addEventListener("click", () => show(index)));
  document.getElementById("plane").addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    show((shown ?? 0) + step);
  });

  const specification = read("plane-specification");
  vegaEmbed("#plane", specification, { mode: "vega-lite", actions: false, renderer: "canvas", ast: true }).then(({ view }) => {
    view.addSignalListener("pick", (_, value) => {
      if (value && value.row && value.row.length) show(value.row[0]);
    });
    const first = specification.data.values[0];
    if (first) show(first.row);
    document.documentElement.dataset.ready = "yes";
  });
})();
