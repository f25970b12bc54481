// Dialogs, and messages that are shown and read aloud.

import { h, newId, printable, replace, set, write } from "./dom.js";

/**
 * Show a dialog with a form.
 * @param {string} title
 * @param {Array} content of the dialog.
 * @param {object} options `action`: the word on the button; `danger`: it is red; `check`: called when the form is sent,
 *   may return (a promise of) what is wrong, which keeps the dialog open; `reading`: there is nothing to send.
 * @returns {Promise<boolean>} whether the form was sent.
 */
export function ask(title, content, { action = "Send", danger = false, check = () => "", reading = false } = {}) {
  const heading = newId();
  const wrong = h("p", { class: "wrong", role: "alert" });
  const send = h("button", { class: danger ? "primary danger" : "primary" }, action);
  const cancel = h("button", { type: "button", onclick: () => dialog.close() }, "Cancel");
  let sent = false;
  const submit = async (event) => {
    event.preventDefault();
    if (send.hasAttribute("aria-disabled")) return;
    set(send, "aria-disabled", "true");
    try {
      write(wrong, printable((await check()) || ""));
    } catch (error) {
      write(wrong, printable(error.message));
    }
    set(send, "aria-disabled", null);
    if (wrong.textContent) return;
    sent = true;
    dialog.close();
  };
  const dialog = h(
    "dialog",
    { "aria-labelledby": heading },
    h(
      "form",
      { novalidate: true, onsubmit: submit },
      h("h2", { id: heading }, printable(title)),
      content,
      wrong,
      h("div", { class: "actions end" }, reading ? null : cancel, send),
    ),
  );
  const before = document.activeElement;
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (before?.isConnected) before.focus();
      resolve(sent);
    });
  });
}

/** Ask before a change is sent. */
export const confirmed = (title, content, action) => ask(title, content, { action });

/** Ask before something dangerous is sent: its name must be typed. */
export function confirmedByName(title, content, name) {
  const input = h("input", { id: newId(), autocomplete: "off", spellcheck: "false", autocapitalize: "off" });
  const label = h("label", { for: input.id }, "Type ", h("code", {}, printable(name)), " to send it");
  return ask(title, [...content, h("div", { class: "field" }, label, input)], {
    danger: true,
    check: () => (input.value.trim() === name ? "" : `This is dangerous. Type ${name} to send it.`),
  });
}

let timer = 0;

/** Show a message for a few seconds. */
export function say(text, bad = false) {
  const status = document.getElementById("status");
  clearTimeout(timer);
  replace(status, h("p", { class: bad ? "bad" : null }, printable(text)));
  timer = setTimeout(() => replace(status), bad ? 12000 : 5000);
}

/** Copy a text to the clipboard. Over plain HTTP only the old way works. */
export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea", { class: "unseen", "aria-hidden": "true", tabindex: "-1" });
    area.value = text;
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) return say("The browser does not let this page copy", true);
  }
  return say(`Copied: ${what}`);
}
