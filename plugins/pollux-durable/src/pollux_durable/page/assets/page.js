"use strict";
(() => {
  const REFRESH_MS = 3000, SETTLE_MS = 250, MAX_ROWS = 500, SHORT = 200;
  const main = document.querySelector("main");
  const notice = document.getElementById("notice");
  const live = document.getElementById("live");

  // The token has been used, and a notice is shown once: neither belongs into a bookmark.
  const address = new URL(location.href);
  address.searchParams.delete("token");
  address.searchParams.delete("done");
  history.replaceState(null, "", address);

  document.addEventListener("submit", (event) => {
    const question = event.submitter && event.submitter.dataset.confirm;
    if (question && !confirm(question)) event.preventDefault();
  });
  // What somebody has begun to fill in must not be replaced.
  document.addEventListener("input", (event) => {
    if (event.target.form) event.target.form.dataset.touched = "yes";
  });

  function say(text) {
    notice.textContent = text;
    notice.hidden = !text;
  }

  // Parts of the page are replaced when the server shows them otherwise.

  function isInUse(part) {
    const active = document.activeElement;
    return part.querySelector("form[data-touched]") ||
      (part.contains(active) && active.matches("input, select, textarea"));
  }

  function replacePart(part, fresh) {
    const open = [...part.querySelectorAll("details[open]")].map((one) => one.dataset.key);
    const focused = part.contains(document.activeElement) ? document.activeElement : null;
    const place = focused && [...part.querySelectorAll("a, button, summary, pre")].indexOf(focused);
    part.replaceChildren(...document.importNode(fresh, true).childNodes);
    for (const one of part.querySelectorAll("details")) one.open = open.includes(one.dataset.key);
    const again = focused && [...part.querySelectorAll("a, button, summary, pre")][place];
    if (again) again.focus({ preventScroll: true });
  }

  const shown = new Map();
  for (const part of document.querySelectorAll("[data-part]")) shown.set(part.dataset.part, part.innerHTML);

  async function refresh() {
    const answer = await fetch(location.href, { credentials: "same-origin", cache: "no-store" });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    // Its styles have a nonce of their own, which the policy of this document refuses and reports.
    const html = (await answer.text()).replace(/<style[^]*?<\/style>/, "");
    const fresh = new DOMParser().parseFromString(html, "text/html");
    for (const part of document.querySelectorAll("[data-part]")) {
      const name = part.dataset.part;
      const other = [...fresh.querySelectorAll("[data-part]")].find((one) => one.dataset.part === name);
      if (!other || other.innerHTML === shown.get(name) || isInUse(part)) continue;
      shown.set(name, other.innerHTML);
      replacePart(part, other);
    }
    for (const link of document.querySelectorAll("header nav a")) {
      const other = [...fresh.querySelectorAll("header nav a")].find((one) => one.pathname === link.pathname);
      if (other && other.textContent !== link.textContent) link.textContent = other.textContent;
    }
  }

  let isRefreshing = false, isWanted = false, isLost = false;
  async function refreshSoon() {
    isWanted = true;
    if (isRefreshing) return;
    isRefreshing = true;
    while (isWanted) {
      await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
      isWanted = false;
      try {
        await refresh();
        if (isLost) say("");
        isLost = false;
      } catch (error) {
        isLost = true;
        say("The page has lost its server. What you see may be out of date.");
      }
    }
    isRefreshing = false;
  }

  if (main.hasAttribute("data-refreshed")) {
    setInterval(() => { if (!document.hidden) refreshSoon(); }, REFRESH_MS);
  }
  if (!live) return;

  // Live events.

  const texts = document.getElementById("texts");
  const rows = document.getElementById("events");
  const following = document.getElementById("following");
  let lastId = live.dataset.after, source = null;

  function build(tag, text) {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    return element;
  }

  function findRound(run, step) {
    return [...live.querySelectorAll("[data-step]")]
      .filter((one) => one.dataset.run === run && one.dataset.step === step);
  }

  function addText(run, step, text) {
    let figure = findRound(run, step).find((one) => one.tagName === "FIGURE");
    if (!figure) {
      figure = build("figure");
      figure.dataset.run = run;
      figure.dataset.step = step;
      const pre = build("pre", "");
      pre.tabIndex = 0;
      figure.append(build("figcaption", `Text of step ${step} of ${run}`), pre);
      texts.append(figure);
    }
    figure.lastElementChild.append(text);
  }

  function addRow(event, run, step) {
    const row = build("tr");
    row.dataset.run = run;
    if (step !== null) row.dataset.step = step;
    const data = typeof event.data === "string" ? event.data : JSON.stringify(event.data);
    const time = new Date(event.created_at * 1000).toISOString().slice(0, 19).replace("T", " ") + " UTC";
    const short = data.length <= SHORT ? data : data.slice(0, SHORT - 3) + "...";
    const cells = { "No.": String(event.sequence_id), "Time": build("time", time), "Run": build("code", run),
      "Event": event.event_type || "", "Data": build("code", short) };
    for (const [head, content] of Object.entries(cells)) {
      const cell = build("td");
      cell.dataset.head = head;
      cell.append(content);
      row.append(cell);
    }
    rows.append(row);
    if (rows.children.length > MAX_ROWS) rows.firstElementChild.remove();
    rows.parentElement.hidden = false;
  }

  function show(event) {
    const run = event.execution_id || "";
    const data = event.data !== null && typeof event.data === "object" ? event.data : {};
    const step = Number.isInteger(data.step) ? String(data.step) : null;
    if (event.event_type === "text_delta" && step !== null && typeof data.content === "string") {
      addText(run, step, data.content);
      return;
    }
    // The call was made anew: what the same step has sent before does not count.
    if (event.event_type === "stream_start" && step !== null) {
      for (const one of findRound(run, step)) one.remove();
    }
    addRow(event, run, step);
    refreshSoon();
  }

  function follow() {
    if (source) return;
    source = new EventSource(`${live.dataset.follow}&after=${lastId}`);
    source.addEventListener("event", (message) => {
      lastId = message.lastEventId;
      show(JSON.parse(message.data));
    });
    source.addEventListener("change", refreshSoon);
    source.addEventListener("end", () => {
      following.textContent = "The run has ended.";
      leave();
      refreshSoon();
    });
    source.onopen = () => { following.textContent = "Follows the run."; };
    source.onerror = () => {
      const isOver = source.readyState === EventSource.CLOSED;
      following.textContent = isOver ? "The page has lost its server." : "The connection is lost; it is tried again.";
    };
  }

  function leave() {
    if (source) source.close();
    source = null;
  }

  // A browser keeps few connections to one server: a page that nobody sees gives its own back.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) leave();
    else follow();
  });
  follow();
})();
