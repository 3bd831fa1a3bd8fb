"use strict";
// What the status page does beyond being read: buttons, and keeping itself fresh.

const FRESH = ["accounts", "faults", "sessions", "listeners"];
const REFRESH_MS = 5000;

// The path under which the relay is found, without a slash at its end.
const BASE = document.documentElement.dataset.base;

document.documentElement.classList.add("has-script");
const dialog = document.getElementById("dialog");
const body = document.getElementById("dialog-body");

// Counts what the dialog was opened for, so that answers that come late change nothing.
let visit = 0;

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-do]");
  if (!button) return;
  const card = button.closest("[data-login]");
  const account = card && {
    login: card.dataset.login,
    grant: card.dataset.grant,
    protocols: card.dataset.protocols.split(" "),
  };
  actions[button.dataset.do](account, button);
});

dialog.addEventListener("close", () => {
  visit += 1;
  refresh();
});

const actions = {
  async reload(_, button) {
    button.disabled = true;
    say("Reloading …");
    const { ok, answer } = await post("/api/reload");
    button.disabled = false;
    if (ok) {
      const ended = answer.sessions_ended ? `, ${answer.sessions_ended} sessions end` : "";
      const restart = answer.restart.length ? `; these take a restart: ${answer.restart.join(", ")}` : "";
      say(`Reloaded: ${answer.accounts} accounts, ${answer.listeners} listeners${ended}${restart}.`);
      refresh();
    } else {
      say(`Nothing was changed. ${(answer.problems || [answer.error]).join(" · ")}`, true);
    }
  },

  async authorize(account) {
    const login = named(account.login);
    if (!login) return;
    const mine = open(`Authorize ${login}`);
    show(line("Asking …"));
    const { ok, answer } = await post(`/api/accounts/${encodeURIComponent(login)}/authorize`);
    if (mine !== visit) return;
    if (!ok) return show(...complaint(answer));
    const link = answer.url || answer.verification_uri;
    const shown = [];
    if (answer.user_code) {
      shown.push(line("Open this address on any device and enter the code:"));
      shown.push(anchor(link, link), element("p", { className: "code", textContent: answer.user_code }));
    } else {
      shown.push(line(`Sign in as the mailbox's owner and agree. The link is good for ${Math.round(answer.expires_in / 60)} minutes and works once.`));
      shown.push(anchor(link, `Sign in at ${new URL(link).host}`));
    }
    shown.push(element("img", { src: `${BASE}/qr.svg?text=${encodeURIComponent(link)}`, alt: "The same address as a QR code", width: 220, height: 220 }));
    const waiting = line("Waiting for the consent …");
    shown.push(waiting);
    show(...shown);
    const before = await rowOf(login);
    const until = Date.now() + answer.expires_in * 1000;
    const state = answer.url && new URL(answer.url).searchParams.get("state");
    while (mine === visit && Date.now() < until) {
      await sleep(2000);
      if (state) {
        const asked = `/api/accounts/${encodeURIComponent(login)}/authorize?state=${encodeURIComponent(state)}`;
        const progress = (await ask(asked, {})).answer;
        if (mine !== visit) return;
        if (progress.state === "failed") return show(...complaint(progress));
      }
      const row = await rowOf(login);
      if (mine !== visit) return;
      if (row && row.consent === "given" && (before?.consent !== "given" || row.token.expires !== before.token.expires)) {
        waiting.textContent = "Authorized.";
        waiting.className = "good";
        return;
      }
    }
    if (mine === visit) waiting.textContent = "No one consented in time; start again.";
  },

  async test(account) {
    const login = named(account.login);
    if (!login) return;
    const mine = open(`Test connection: ${login}`);
    const run = async (password) => {
      const list = element("ol", { className: "steps" });
      show(list);
      const options = { method: "POST" };
      if (password !== undefined) {
        options.headers = { "content-type": "application/json" };
        options.body = JSON.stringify({ password });
      }
      try {
        const response = await fetch(`${BASE}/api/accounts/${encodeURIComponent(login)}/test?stream=1`, options);
        // The identity provider checks this account's password.
        if (response.status === 400 && password === undefined) return askForPassword();
        if (!response.ok) return show(...complaint(await response.json().catch(() => ({}))));
        let protocol = "";
        let failed = false;
        for await (const step of ndjson(response)) {
          if (mine !== visit) return;
          if (step.protocol !== protocol) {
            protocol = step.protocol;
            list.append(element("li", { className: "protocol", textContent: protocol.toUpperCase() }));
          }
          failed = failed || !step.ok;
          list.append(stepItem(step));
        }
        const verdict = failed ? "Not everything works: follow the remedy above, then test again." : "Everything works.";
        body.append(element("p", { className: failed ? "bad verdict" : "good verdict", textContent: verdict }));
      } catch (error) {
        if (mine === visit) body.append(line(`The relay did not answer: ${error.message}`, "bad"));
      }
    };
    const askForPassword = () => {
      const form = element("form", { className: "ask" });
      const input = element("input", { type: "password", id: "password", required: true, autocomplete: "off" });
      form.append(element("label", { htmlFor: "password", textContent: `Password of ${login}` }), input, element("button", { textContent: "Test" }));
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        run(input.value);
      });
      show(form);
      input.focus();
    };
    return account.grant === "password" ? askForPassword() : run();
  },

  async forget(account) {
    const login = named(account.login);
    if (!login) return;
    open(`Forget ${login}`);
    const button = element("button", { className: "danger", type: "button", textContent: "Forget its tokens" });
    button.addEventListener("click", async () => {
      button.disabled = true;
      const { ok, answer } = await ask(`/api/accounts/${encodeURIComponent(login)}/token`, { method: "DELETE" });
      if (!ok) return show(...complaint(answer));
      show(line(answer.forgotten ? "Forgotten." : "There was nothing to forget.", "good"));
    });
    show(line("Its stored tokens are deleted; authorize the account again before applications can log in."), button);
  },
};

// A wildcard account is tested and authorized as one of its logins.
function named(login) {
  if (!login.startsWith("*")) return login;
  const typed = window.prompt(`Which login of ${login}?`, login.slice(1));
  return typed ? typed.trim() : null;
}

function open(title) {
  visit += 1;
  document.getElementById("dialog-title").textContent = title;
  body.replaceChildren();
  if (!dialog.open) dialog.showModal();
  return visit;
}

function show(...nodes) {
  body.replaceChildren(...nodes);
}

function say(text, bad) {
  const said = document.getElementById("said");
  said.textContent = text;
  said.className = bad ? "bad" : "";
}

function element(name, properties) {
  return Object.assign(document.createElement(name), properties);
}

function line(text, className = "") {
  return element("p", { textContent: text, className });
}

function anchor(url, text) {
  const paragraph = document.createElement("p");
  paragraph.append(element("a", { href: url, textContent: text, target: "_blank", rel: "noopener noreferrer" }));
  return paragraph;
}

function complaint(answer) {
  const nodes = [line(answer.error || answer.detail || "The relay refused.", "bad")];
  if (answer.remedy) nodes.push(line(answer.remedy));
  return nodes;
}

function stepItem(step) {
  const item = element("li", { className: step.ok ? "ok" : "failed" });
  item.append(element("strong", { textContent: `${step.ok ? "✓" : "✗"} ${step.name}` }));
  item.append(element("span", { className: "muted", textContent: ` ${step.ms} ms ` }));
  item.append(element("span", { textContent: step.detail }));
  if (step.cause) item.append(line(step.cause, "bad"));
  if (step.remedy) item.append(line(step.remedy, "remedy"));
  return item;
}

function post(path) {
  return ask(path, { method: "POST" });
}

async function ask(path, options) {
  try {
    const response = await fetch(BASE + path, options);
    if (response.status === 401) location.reload();
    return { ok: response.ok, answer: await response.json().catch(() => ({})) };
  } catch (error) {
    return { ok: false, answer: { error: `The relay did not answer: ${error.message}` } };
  }
}

async function rowOf(login) {
  const { ok, answer } = await ask("/api/accounts", {});
  return ok ? answer.find((row) => row.login === login.toLowerCase()) : undefined;
}

async function* ndjson(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const text of lines) yield JSON.parse(text);
  }
}

function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function refresh() {
  if (document.hidden || dialog.open) return;
  // Whoever types or selects is not disturbed.
  if (document.activeElement?.tagName === "INPUT" || !getSelection().isCollapsed) return;
  try {
    const response = await fetch(location.href);
    // Whoever is logged out sees the way in.
    if (response.status === 401) return location.reload();
    if (!response.ok) return;
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
    const focused = document.activeElement?.id;
    for (const id of FRESH) {
      const now = fresh.getElementById(id);
      const then = document.getElementById(id);
      if (now && then && now.innerHTML !== then.innerHTML) then.replaceWith(document.adoptNode(now));
    }
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  } catch {
    say("The relay does not answer; this page may be out of date.", true);
  }
}

setInterval(refresh, REFRESH_MS);
