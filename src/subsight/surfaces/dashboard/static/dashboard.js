"use strict";
// What the page can do without this script, it does a little better with it: what a mark stands for is said
// beside the pointer, and of a page that leads to another of the same frame only the content is fetched.

const tip = document.createElement("div");
tip.id = "tip";
tip.hidden = true;
tip.setAttribute("aria-hidden", "true"); // the mark says the same to whoever hears the page
document.body.append(tip);

function markOf(target) {
  const named = target instanceof Element && target.closest("figure svg [aria-label]");
  return named && named.closest("svg") !== named ? named : null;
}

function showTip(mark, x, y) {
  tip.textContent = mark.getAttribute("aria-label");
  tip.hidden = false;
  const left = Math.max(4, Math.min(x + 12, document.documentElement.clientWidth - tip.offsetWidth - 8));
  tip.style.left = `${window.scrollX + left}px`;
  tip.style.top = `${window.scrollY + Math.max(4, y - tip.offsetHeight - 10)}px`;
}

document.addEventListener("pointermove", (event) => {
  const mark = markOf(event.target);
  if (mark) showTip(mark, event.clientX, event.clientY);
  else tip.hidden = true;
});
document.addEventListener("focusin", (event) => {
  const mark = markOf(event.target);
  if (!mark) return void (tip.hidden = true);
  const box = mark.getBoundingClientRect();
  showTip(mark, box.left + box.width / 2, box.top);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") tip.hidden = true;
});

// On a phone the form of filters would be all that is seen: it waits until it is asked for.
function fold() {
  const form = document.querySelector(".filters .add");
  if (form && matchMedia("(max-width: 34rem)").matches) form.open = false;
}
fold();

let latest = null;

// What the focus was on, so that it can be found again in the content that comes.
function placeOf(element) {
  if (!element || element === document.body) return null;
  if (element.id) return `#${CSS.escape(element.id)}`;
  if (element.name) return `${element.localName}[name="${CSS.escape(element.name)}"]`;
  const sort = element.closest("th") && element.closest("th").querySelector("abbr");
  return sort ? `th abbr[title="${CSS.escape(sort.title)}"]` : null;
}

async function go(address, { push = true, scroll = null } = {}) {
  const main = document.getElementById("main");
  const place = placeOf(document.activeElement);
  const samePage = new URL(address, location.href).pathname === location.pathname;
  if (latest) latest.abort();
  const asked = (latest = new AbortController());
  main.setAttribute("aria-busy", "true");
  tip.hidden = true;
  try {
    const answer = await fetch(address, { headers: { Accept: "text/html" }, signal: asked.signal });
    const kind = answer.headers.get("Content-Type") || "";
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const next = page.getElementById("main");
    // Another frame, such as the login's, is loaded whole.
    if (!kind.startsWith("text/html") || !next || !sameFrame(page)) return void location.assign(address);
    if (push) {
      history.scrollRestoration = "manual"; // the content comes after the browser would have scrolled
      history.replaceState({ scroll: window.scrollY }, "");
      history.pushState({ scroll: 0 }, "", answer.redirected ? answer.url : address);
    }
    document.title = page.title;
    main.replaceWith(next);
    fold();
    const side = document.querySelector(".side");
    const nextSide = page.querySelector(".side");
    if (side && nextSide) side.replaceWith(nextSide);
    arrive(next, place, samePage, scroll, new URL(address, location.href).hash);
    fill();
  } catch (error) {
    if (error.name !== "AbortError") location.assign(address);
  } finally {
    if (latest === asked) main.removeAttribute("aria-busy");
  }
}

// What was not there in time is asked for until it is: the server waits a while each time.
async function fill() {
  const main = document.getElementById("main");
  const address = location.href;
  while (main.isConnected && main.querySelector(".waiting")) {
    await new Promise((done) => setTimeout(done, 150));
    if (!main.isConnected) return;
    let answer, page;
    try {
      answer = await fetch(address, { headers: { Accept: "text/html" } });
      page = new DOMParser().parseFromString(await answer.text(), "text/html");
    } catch {
      return; // the question's own page can still be opened
    }
    if (!main.isConnected) return;
    // Why there is no page stands in its place; loaded again, it would fail again and again.
    if (!answer.ok && sameFrame(page)) return void main.replaceWith(page.getElementById("main"));
    // No page holds answers of two runs, and none asks on for what only a login shows.
    if (!answer.ok || answer.redirected || runOf(page) !== runOf(document)) return void location.reload();
    for (const part of main.querySelectorAll(".waiting")) {
      const next = page.getElementById(part.id);
      if (!next) part.remove(); // a chart that cannot be drawn
      if (!next || next.matches(".waiting")) continue;
      const had = part.contains(document.activeElement);
      part.replaceWith(next);
      if (had) next.querySelector("a[href]").focus({ preventScroll: true });
    }
  }
}
fill();

function runOf(page) {
  return page.querySelector(".foot a")?.textContent;
}

function sameFrame(page) {
  const script = (one) => one.querySelector("script[src]")?.getAttribute("src");
  return script(page) === script(document) && !!page.querySelector(".rail") === !!document.querySelector(".rail");
}

function arrive(main, place, samePage, scroll, hash) {
  const found = samePage && place ? main.querySelector(place) : null;
  const target = found ? found.closest("a") || found.querySelector("a") || found : main;
  target.focus({ preventScroll: true });
  const named = hash && document.getElementById(decodeURIComponent(hash.slice(1)));
  if (named) named.scrollIntoView();
  else if (scroll !== null) window.scrollTo(0, scroll);
  else if (!samePage) window.scrollTo(0, 0);
}

function isOurs(url) {
  return url.origin === location.origin && !/^\/(static|docs|login|logout|openapi)/.test(url.pathname);
}

document.addEventListener("click", (event) => {
  const link = event.target instanceof Element && event.target.closest("a[href]");
  if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey)
    return;
  if (link.hasAttribute("download") || link.hasAttribute("data-plain") || link.hasAttribute("target")) return;
  const url = new URL(link.getAttribute("href"), location.href);
  const samePlace = url.pathname === location.pathname && url.search === location.search;
  if (!isOurs(url) || (samePlace && url.hash)) return;
  event.preventDefault();
  go(url.href);
});

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "get" || event.defaultPrevented) return;
  event.preventDefault();
  const url = new URL(form.action);
  // What was left open is no part of the address.
  const filled = [...new FormData(form)].filter(([, value]) => value !== "");
  url.search = new URLSearchParams(filled).toString();
  go(url.href);
});

window.addEventListener("popstate", (event) => go(location.href, { push: false, scroll: event.state?.scroll ?? 0 }));
